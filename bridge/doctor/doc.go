// Package doctor says what is wrong with a box, and what to do about it. A diagnosis is a chain of
// checks that depend on each other: of a box whose cable is out it says just that, and not that a
// dozen other things do not work either.
//
//	link ─▶ address ─▶ default route ─▶ resolving ─▶ egress … ─▶ probes …
//	                        │    programs, clock ──────┘  │
//	                        └──▶ network …                └─▶ policy
//	daemon ─▶ zerotier service ──┘
//	   └────▶ kernel
package doctor
