package doctor

import (
	"fmt"
	"slices"
	"strings"
)

// Verdict is the outcome of one check.
type Verdict string

// The verdicts.
const (
	OK      Verdict = "ok"
	Warning Verdict = "warning" // works, and a person should know
	Failed  Verdict = "failed"
	// Consequence: it fails, and so does something that it depends on, which explains it.
	Consequence Verdict = "skipped"
)

// Result is what became of one check.
type Result struct {
	Check   string  `json:"check"`
	Verdict Verdict `json:"verdict"`
	Message string  `json:"message"`
	Remedy  string  `json:"remedy,omitempty"`
	Command string  `json:"command,omitempty"` // a shell command that does it
	// Because is the failed check of which this one is the consequence.
	Because string `json:"because,omitempty"`
	// doubtful: it only counts as good if what it depends on is.
	doubtful bool
}

// Report is a diagnosis, in the order of the chain.
type Report []Result

// Failures returns the names of the checks that failed by themselves.
func (r Report) Failures() []string {
	names := []string{}
	for _, result := range r {
		if result.Verdict == Failed {
			names = append(names, result.Check)
		}
	}
	return names
}

// check is one link of the chain. Its needs come before it.
type check struct {
	name  string
	needs []string
	look  func(Facts) Result // only Verdict, Message and Remedy are filled in
}

// Diagnose makes the checks. It is pure.
func Diagnose(f Facts) Report {
	report := Report{}
	root := map[string]string{} // check → the failure behind it; itself if it failed by itself
	for _, c := range chain(f) {
		result := c.look(f)
		result.Check = c.name
		if result.Verdict == Failed || result.doubtful {
			if result.Verdict == Failed {
				root[c.name] = c.name
			}
			if i := slices.IndexFunc(c.needs,
				func(need string) bool { return root[need] != "" }); i >= 0 {
				because := root[c.needs[i]]
				root[c.name] = because
				result = Result{Check: c.name, Verdict: Consequence,
					Message: "(because " + because + " failed)", Because: because}
			}
		}
		report = append(report, result)
	}
	return report
}

func ok(format string, args ...any) Result {
	return Result{Verdict: OK, Message: fmt.Sprintf(format, args...)}
}

func warning(message, remedy string) Result {
	return Result{Verdict: Warning, Message: message, Remedy: remedy}
}

func failed(message, remedy string) Result {
	return Result{Verdict: Failed, Message: message, Remedy: remedy}
}

// width is the widest line of a report, in columns.
const width = 80

// String draws the report for people.
func (r Report) String() string {
	var b strings.Builder
	column := 0
	for _, result := range r {
		column = max(column, len(result.Check))
	}
	for _, result := range r {
		head := fmt.Sprintf("%-7s  %-*s  ", result.Verdict, column, result.Check)
		b.WriteString(wrap(head, result.Message))
		if result.Remedy != "" {
			b.WriteString(wrap(strings.Repeat(" ", len(head)), "→ "+result.Remedy))
		}
		if result.Command != "" { // whole: a line that is broken cannot be pasted
			b.WriteString("    " + result.Command + "\n")
		}
	}
	failures, warnings := r.Failures(), r.warnings()
	switch {
	case len(failures) > 0:
		b.WriteString("\n" + wrap("To fix: ", strings.Join(failures, ", ")+"."))
	case warnings == 1:
		b.WriteString("\nAll checks passed (1 warning).\n")
	case warnings > 1:
		fmt.Fprintf(&b, "\nAll checks passed (%d warnings).\n", warnings)
	default:
		b.WriteString("\nAll checks passed.\n")
	}
	return b.String()
}

func (r Report) warnings() int {
	n := 0
	for _, result := range r {
		if result.Verdict == Warning {
			n++
		}
	}
	return n
}

// wrap writes words behind a head, in lines of width columns.
func wrap(head, text string) string {
	hang := strings.Repeat(" ", len(head))
	line, out := head, ""
	for word := range strings.FieldsSeq(text) {
		if strings.TrimSpace(line) != strings.TrimSpace(head) &&
			len([]rune(line))+1+len([]rune(word)) > width {
			out += strings.TrimRight(line, " ") + "\n"
			line = hang
		}
		if !strings.HasSuffix(line, " ") {
			line += " "
		}
		line += word
	}
	return out + line + "\n"
}
