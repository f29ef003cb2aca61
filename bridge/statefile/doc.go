// Package statefile keeps single values in files that survive a reboot, and replaces them
// atomically.
package statefile
