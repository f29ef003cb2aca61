// Package controller prepares a ZeroTier network for a box at the network's controller. That is
// ZeroTier Central (its older API v1 or its newer v2), or the controller inside the box's own
// zerotier-one.
//
//	                 Network, Members                 Plan (+/- lines)
//	controller ───────────────────────▶ PlanSetup ───────────────────▶ Apply ──▶ controller
//	                                    (pure)          Record ◀── before each request
//	                                                       │
//	                                                       ▼
//	                                                  PlanTeardown
//
// A plan holds only what is missing, so that a second run finishes what an interrupted one left. A
// record in the state directory names what setup added; teardown removes exactly that.
package controller
