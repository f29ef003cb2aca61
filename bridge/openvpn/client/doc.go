// Package client runs openvpn as an unprivileged program that connects to a provider. It supervises
// the process through its management protocol and says in values what state the tunnel is in. It
// sets no route and no address: what the server assigned is checked and handed on.
package client
