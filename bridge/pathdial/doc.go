// Package pathdial connects to hosts in the Internet through one egress, or through this box's own
// line, and by nothing else:
//
//	name ─▶ resolver ─┐
//	                  ├─▶ socket bound to the interface, with the mark ─▶ host
//	connection ───────┘
//
// Without the interface, or without its route, connecting fails.
package pathdial
