// Package probe finds out whether packets get through an egress. It sends ICMP echoes by that
// egress alone and grades the answers. A tunnel whose process says "connected" may have been dead
// for a minute; a probe finds out within a second.
package probe
