// Package devices knows who sends: it keeps the exit that each device chose, and identifies the
// device behind an address.
//
//	neighbour table ─┐
//	ids, controller ─┼─▶ View: address → member, if nobody else can have it ─▶ api.Identity
//	fixed addresses ─┘
//	                     Book: device → exit, addresses ─▶ decide.Snapshot.Devices
//
// A member's hardware address follows from its ZeroTier address, and the service lets no member
// send from another one. An IP address alone proves nothing: the entrance of the filter ties it to
// the hardware address before it counts.
package devices
