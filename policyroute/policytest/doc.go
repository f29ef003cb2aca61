// Package policytest has what tests of policyroute and of its appliers share. It has intents, a
// kernel in memory, and the laws that every target of a plan must keep.
package policytest
