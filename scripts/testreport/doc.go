// Command testreport turns the output of `go test -json` into a report for people. It prints a line
// for each package and all output of failing tests. At the end it lists skipped tests with their
// reasons, so that nobody takes one for a passed test, and the first words of each failed test. It
// fails if a test failed or none passed.
package main
