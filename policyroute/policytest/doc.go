// Package policytest holds what tests of policyroute and of its appliers share: intents in the
// project's own scenes, a kernel in memory, and the laws that every target of a plan must keep.
package policytest
