// Package decide turns a configuration and what is true now into which packets may travel where.
//
// It is pure: Decide(Config, Snapshot) returns a Decision, whose Intent policyroute compiles to
// rules, routes and filters. Equal arguments give equal results; nothing here reads a file, a clock
// or the kernel.
//
//	Config ───┐              ┌─▶ Intent ──▶ policyroute.Compile
//	          ├─▶ Decide ──▶ ├─▶ Choices    which egress carries each list, and why
//	Snapshot ─┘              └─▶ Connected  what lies behind each ingress
package decide
