// Package probe tells whether packets really get through an egress: it sends ICMP echoes by that
// egress alone and judges the answers. A tunnel whose process says "connected" may have been dead
// for a minute; a probe knows within a second.
package probe
