// Package browsertest drives a real browser in tests of the page.
package browsertest
