// Package command runs commands of this program as children of the daemon, so that what they need
// for a moment is not the daemon's forever. They have its rights and are in its sandbox.
package command
