// Package cmd holds the programs, and the test of who may import whom.
package cmd
