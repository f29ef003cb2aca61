// Package process runs one openvpn program as an unprivileged user: it starts it, reads what it
// prints, ends it within a deadline, and recognises one that an earlier run of the daemon left
// behind.
package process
