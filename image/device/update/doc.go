// Package update brings a new system into the inactive slot of a running box, and takes it back
// when it is not healthy.
package update
