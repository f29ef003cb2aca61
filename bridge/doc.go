// Package bridge decides where clients' packets go and keeps the kernel that way.
//
// One loop does it all: whatever happens fires a trigger; the loop then takes a Snapshot of what is
// true, has decide.Decide decide, compiles the decision into kernel objects, observes the objects
// that are ours, and applies the difference.
//
//	 netlink ─┐
//	 openvpn ─┤                 ┌───────────┐  ┌────────┐  ┌─────────┐  ┌──────┐  ┌───────┐
//	zerotier ─┼─▶ trigger ────▶ │ snapshot  ├─▶│ decide ├─▶│ compile ├─▶│ diff ├─▶│ apply │─▶ status
//	  probes ─┤   (one deep)    └───────────┘  └────────┘  └─────────┘  └──▲───┘  └───────┘
//	  SIGHUP ─┤                  drivers,       pure        pure           │
//	   timer ─┘                  kernel                                 observe
package bridge
