// Package services runs the programs and tasks beside the kernel's tables. They are the tunnels'
// processes, the endpoint, ZeroTier memberships, probes, resolvers and the neighbour proxy.
//
// A Set follows the configuration (a Spec); a service whose settings did not change lives through a
// reload. A Monitor acts on what a pass found out: it reconnects tunnels that do not answer. A
// Trigger wakes the reconcile loop.
package services
