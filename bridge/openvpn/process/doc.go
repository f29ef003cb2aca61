// Package process runs one openvpn program as an unprivileged user. It starts it, reads its output,
// ends it within a deadline, and recognises one that an earlier run of the daemon left running.
package process
