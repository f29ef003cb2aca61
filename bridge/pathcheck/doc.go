// Package pathcheck is a client of the box's own. It sends a client's packets into a TUN device
// that is an ingress, and reads the answers there: so they meet the rules, filters, translation
// and DNS steering that a client's packets meet. What it finds is what a client finds.
//
//	Checker ──write──▶ TUN ─▶ rules, filters, NAT ─▶ egress ─▶ Internet
//	        ◀──read───     ◀──────────────────────────────────
package pathcheck
