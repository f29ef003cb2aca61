// Package ndp answers neighbour solicitations on behalf of addresses that are reached through this
// box, so that a provider's router, which believes its /64 to be on the link, sends their packets
// here:
//
//	router ── who has 2001:db8::80:1? ──▶ WAN interface        (multicast, or a unicast probe)
//	router ◀── it is at our MAC ────────  proxy                only if Ours says so
//	router ── packets for it ──▶ box ──▶ member
//
// It reads solicitations by a packet socket, with all multicast let through: the solicited-node
// group of an address is known only once somebody asks for it, and unicast probes carry an address
// that is not the box's. Switches that snoop MLD, and therefore forward such groups only to ports
// that joined them, are not served.
package ndp
