// Package prefixcheck finds out whether an IPv6 prefix that members are numbered from leads back to
// this box. It sends echoes to the Internet from an address of the prefix, beside others from the
// box's own:
//
//	box's own address ─▶ target ─▶ answer        the WAN's IPv6 works
//	address of prefix ─▶ target ─▶ answer?       the provider sends the prefix here, or it does not
package prefixcheck
