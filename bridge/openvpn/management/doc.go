// Package management speaks OpenVPN's management protocol (doc/management-notes.txt) over a unix
// socket of ours. It is a transport for the Middleware and CommandWriter interfaces of go-openvpn.
//
//	openvpn ──▶ reader ──┬── ">…" ──▶ queue ──▶ deliverer ──▶ middlewares
//	                     └── replies ──▶ the one command that is under way
package management
