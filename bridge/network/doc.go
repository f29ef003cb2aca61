// Package network prepares the box's ZeroTier network at its controller: the command line and the
// page call the same code.
//
//	Open ──▶ Session ─┬─▶ PlanSetup ──▶ Setup.Apply ──▶ configuration names the network
//	                  ├─▶ Steps (without a token)
//	                  ├─▶ PlanTeardown ──▶ Teardown.Apply
//	                  └─▶ Members, Authorize
//
// What changes at a controller, and in which order, is decided by package controller. Errors carry
// the hint that helps (api.Hint).
package network
