// Package status turns a snapshot, a decision and the result of a pass into the status for people
// and programs: where traffic goes, since when, what is wrong, and the remedy.
//
// It is pure, except that a Reporter remembers since when each state has lasted.
package status
