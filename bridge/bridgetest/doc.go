// Package bridgetest holds what tests of the daemon's packages share: a small configuration, the
// host that goes with it, and what its drivers say.
package bridgetest
