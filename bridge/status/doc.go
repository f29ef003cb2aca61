// Package status turns a snapshot, a decision and the result of a pass into the status that people
// and programs read: what flows where, since when, what is wrong, and what to do about it.
//
// It reads values alone. A Reporter only adds since when things are as they are.
package status
