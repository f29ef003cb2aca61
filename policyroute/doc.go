// Package policyroute decides, in values, how packets of clients may travel: rules, routes,
// addresses, filters and sysctls. It is pure: nothing here touches a kernel, a file or a clock, and
// it imports only the standard library. Package policyroute/kernel observes and applies what is
// decided here.
//
// A packet that entered by an ingress meets four layers, each of which alone keeps it from leaving
// by a way that its policy does not name:
//
//	ingress ──▶ rules (iif) ──▶ table of its policy ──▶ device ──▶ nft forward ──▶ out
//	             │ 3: iif unreachable  │ 2: unreachable     │ 1: a TUN that        │ 4: only what
//	             │    behind them all  │    default behind  │    outlives its      │    policy allows,
//	             │                     │    the live one    │    process           │    else drop
package policyroute
