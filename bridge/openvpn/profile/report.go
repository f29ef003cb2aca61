package profile

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Severity orders what a Report says.
type Severity string

// The severities, worst first.
const (
	Serious Severity = "serious" // may keep the tunnel from working
	Warning Severity = "warning" // works, but weaker, or not as the profile says
	Info    Severity = "info"    // dropped or rewritten without any loss
)

var severityRank = map[Severity]int{Serious: 0, Warning: 1, Info: 2}

// Finding is one remark about a profile.
type Finding struct {
	Line      int // from 1; 0 when it is about the whole
	Directive string
	Severity  Severity
	Reason    string
}

func (f Finding) String() string {
	if f.Line == 0 {
		return fmt.Sprintf("%s: %s: %s", f.Severity, f.Directive, f.Reason)
	}
	return fmt.Sprintf("%s: line %d: %s: %s", f.Severity, f.Line, f.Directive, f.Reason)
}

// Report says what of a profile was dropped, rewritten or is weak, in the order of its lines.
type Report struct {
	Findings []Finding
}

// Warnings returns the findings that a person should know of, worst first.
func (r Report) Warnings() []Finding {
	out := slices.DeleteFunc(slices.Clone(r.Findings),
		func(f Finding) bool { return f.Severity == Info })
	slices.SortStableFunc(out, func(a, b Finding) int {
		return cmp.Compare(severityRank[a.Severity], severityRank[b.Severity])
	})
	return out
}

// maxNamed is how many harmless directives are named.
const maxNamed = 8

// String returns a line for each warning, worst first, and one for all that is harmless.
func (r Report) String() string {
	var b strings.Builder
	for _, f := range r.Warnings() {
		fmt.Fprintln(&b, f)
	}
	count := 0
	var names []string
	for _, f := range r.Findings {
		if f.Severity != Info {
			continue
		}
		count++
		if !slices.Contains(names, f.Directive) {
			names = append(names, f.Directive)
		}
	}
	if count == 0 {
		return b.String()
	}
	lines := "lines"
	if count == 1 {
		lines = "line"
	}
	more := ""
	if len(names) > maxNamed {
		more = fmt.Sprintf(" and %d more", len(names)-maxNamed)
		names = names[:maxNamed]
	}
	fmt.Fprintf(&b, "info: %d %s without effect on the tunnel: %s%s\n", count, lines,
		strings.Join(names, ", "), more)
	return b.String()
}
