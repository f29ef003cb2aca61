// Package update installs a new system in the inactive slot of a running box, and reverts it if it
// is unhealthy.
package update
