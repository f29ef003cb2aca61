// Package endpoint runs the box's own OpenVPN server, for clients whose UDP is blocked. It runs one
// unprivileged openvpn process per listening socket, each on a persistent TUN device, with shared
// keys. The package admits every client over the management socket, with the client's own addresses
// and routes.
//
//	client ──udp/1194──▶ openvpn ──▶ tunztb.udp1194 ─┐
//	client ──tcp/443───▶ openvpn ──▶ tunztb.tcp443  ─┴─▶ the kernel's forwarding, and so the policy
//	browser ─tcp/443───▶ openvpn ──port-share──▶ a web server on loopback
//
// Traffic between two clients passes the kernel (openvpn's client-to-client is off), so the policy
// applies to it too.
package endpoint
