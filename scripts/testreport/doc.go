// Command testreport reads what `go test -json` writes and tells it to a person: a line for each
// package and everything that failing tests said; at the end what was skipped and why, so that
// nobody takes a skipped test for a passed one, and what each failed test said first. It fails if a
// test failed or none passed.
package main
