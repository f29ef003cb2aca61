// Package echowatch sees the ICMP echoes that come in by an interface, whatever the host then does
// with them: those that are routed on, and those for addresses that nobody has.
package echowatch
