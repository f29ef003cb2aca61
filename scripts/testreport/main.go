package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

func main() {
	r := newReport(os.Stdout)
	if err := r.read(os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "testreport: error:", err)
		os.Exit(1)
	}
	if !r.conclude() {
		os.Exit(1)
	}
}

// event is a line of `go test -json`, see `go doc test2json`.
type event struct {
	Action  string
	Package string
	Test    string
	Elapsed float64 // seconds
	Output  string
}

// test names a test or, without a name, all else of a package.
type test struct{ pkg, name string }

func (t test) String() string { return strings.TrimSpace(t.pkg + " " + t.name) }

type report struct {
	out     io.Writer
	output  map[test][]string // of what has not ended yet
	started map[test]bool
	skips   []string // with reasons
	fails   []string // the tests, and below each what it said first
	failed  int
	passed  int
	skipped int
	failing map[string]int // failed tests by package
}

func newReport(out io.Writer) *report {
	return &report{out: out, output: map[test][]string{}, started: map[test]bool{},
		failing: map[string]int{}}
}

// read consumes events until the end of the stream.
func (r *report) read(in io.Reader) error {
	for lines := bufio.NewReader(in); ; {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			var e event
			if json.Unmarshal(line, &e) == nil && e.Action != "" {
				r.event(e)
			} else {
				fmt.Fprintf(r.out, "%s", line) // go's own words
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("reading events: %w", err)
		}
	}
}

func (r *report) event(e event) {
	t := test{e.Package, e.Test}
	switch e.Action {
	case "run":
		r.started[t] = true
	case "output":
		r.output[t] = append(r.output[t], e.Output)
	case "build-output":
		fmt.Fprint(r.out, e.Output)
	case "pass", "fail", "skip":
		if t.name == "" {
			r.packageEnded(e)
		} else {
			r.testEnded(t, e)
		}
		delete(r.output, t)
		delete(r.started, t)
	}
}

func (r *report) testEnded(t test, e event) {
	switch e.Action {
	case "pass":
		r.passed++
	case "skip":
		r.skipped++
		r.skips = append(r.skips, fmt.Sprintf("%s: %s", t, reason(r.output[t])))
	case "fail":
		r.fail(t)
	}
}

// fail tells what a failing test said.
func (r *report) fail(t test) {
	r.failing[t.pkg]++
	r.failed++
	output := strings.Join(r.output[t], "")
	r.fails = append(r.fails, t.String())
	for _, line := range firstWords(output) {
		r.fails = append(r.fails, "    "+line)
	}
	fmt.Fprintf(r.out, "FAILED: %s\n%s", t, output)
	delete(r.output, t)
}

func (r *report) packageEnded(e event) {
	if e.Action == "skip" { // it has no tests
		return
	}
	if e.Action == "fail" {
		for t := range r.started { // a panic or a timeout ended them
			if t.pkg == e.Package {
				r.fail(t)
				delete(r.started, t)
			}
		}
		if r.failing[e.Package] == 0 {
			r.fail(test{pkg: e.Package})
		}
	}
	outcome := map[string]string{"pass": "ok  ", "fail": "FAIL"}[e.Action]
	fmt.Fprintf(r.out, "%s  %-40s %6.1f s\n", outcome, e.Package, e.Elapsed)
}

// position is how the framework begins what a test says, and how a panic begins.
var position = regexp.MustCompile(`^\s*(\w+\.go:\d+: |panic: )`)

// firstWords returns the first lines of a failed test's own output, cut to a readable length. What
// follows may be the logs of many programs.
func firstWords(output string) []string {
	const maxLines, maxLength = 5, 240
	var said []string
	for line := range strings.Lines(output) {
		if line = strings.TrimSpace(line); position.MatchString(line) && len(said) < maxLines {
			said = append(said, line[:min(len(line), maxLength)])
		}
	}
	return said
}

// reason finds in a skipped test's output why it was: the lines that are not the framework's.
func reason(output []string) string {
	var words []string
	for line := range strings.SplitSeq(strings.Join(output, ""), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		words = append(words, line)
	}
	if len(words) == 0 {
		return "no reason given"
	}
	return strings.Join(words, " ")
}

// conclude tells what was skipped and what failed, then the counts, and reports whether all is
// well.
func (r *report) conclude() bool {
	for _, list := range []struct {
		title string
		tests []string
	}{{"SKIPPED, which proves nothing:", r.skips}, {"FAILED:", r.fails}} {
		if len(list.tests) > 0 {
			fmt.Fprintf(r.out, "\n%s\n  %s\n", list.title, strings.Join(list.tests, "\n  "))
		}
	}
	fmt.Fprintf(r.out, "\n%d passed, %d failed, %d skipped\n", r.passed, r.failed, r.skipped)
	return r.failed == 0 && r.passed > 0
}
