// Command testreport reads what `go test -json` writes and tells it to a person: a line for each
// package, everything that failing tests said, and at the end what was skipped and why, so that
// nobody takes a skipped test for a passed one. It fails if a test failed or none passed.
package main
