package e2e

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"

	"ztbridge/policyroute/netlab"
)

// measured is what the benchmarks found, told when all are done.
var measured table

// table collects rows; it may be used concurrently.
type table struct {
	mu      sync.Mutex
	rows    []row
	skipped []string // with the reason
}

type row struct{ what, found, compared, outcome string }

func (t *table) add(r row) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rows = append(t.rows, r)
}

func (t *table) skip(what string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.skipped = append(t.skipped, what)
}

// report prints the rows, if there are any, and what was skipped; and writes them into the document
// of that name, if there is one.
func (t *table) report(w io.Writer, document string) error {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.rows)+len(t.skipped) == 0 {
		return nil
	}
	fmt.Fprintf(w, "\nMedians. %s\n", machine())
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(tw, "what\tztbridge\tcompared with\ttarget")
	for _, r := range t.rows {
		fmt.Fprintln(tw, strings.Join([]string{r.what, r.found, r.compared, r.outcome}, "\t"))
	}
	_ = tw.Flush()
	for _, s := range t.skipped {
		fmt.Fprintln(w, "SKIPPED, NOT MEASURED:", s)
	}
	if document == "" || len(t.rows) == 0 {
		return nil
	}
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	updated, err := replaceBench(string(text), t.markdown())
	if err != nil {
		return fmt.Errorf("%s: %w", document, err)
	}
	return os.WriteFile(document, []byte(updated), 0o644)
}

// markdown returns the table for the document.
func (t *table) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n| what | ztbridge | compared with | target |\n|---|---|---|---|\n",
		machine())
	for _, r := range t.rows {
		fmt.Fprintf(&b, "| %s | %s | %s | %s |\n", r.what, r.found, r.compared, r.outcome)
	}
	if len(t.skipped) > 0 {
		fmt.Fprintf(&b, "\nNot measured:\n")
	}
	for _, s := range t.skipped {
		fmt.Fprintf(&b, "- %s\n", s)
	}
	return b.String()
}

// What lies between these lines of the document is written by `make bench`.
const (
	benchBegins = "<!-- make bench writes from here -->\n"
	benchEnds   = "<!-- to here -->\n"
)

// replaceBench returns the document with another table.
func replaceBench(document, table string) (string, error) {
	before, rest, begins := strings.Cut(document, benchBegins)
	_, after, ends := strings.Cut(rest, benchEnds)
	if !begins || !ends {
		return "", fmt.Errorf("the lines %q and %q are missing", benchBegins, benchEnds)
	}
	return before + benchBegins + table + benchEnds + after, nil
}

// machine returns, in words, where and with which programs was measured. With other work on the
// machine absolute numbers mean little, so its load is told.
func machine() string {
	cpu := "unknown processor"
	text, _ := os.ReadFile("/proc/cpuinfo")
	for line := range strings.Lines(string(text)) {
		if name, model, _ := strings.Cut(line, ":"); strings.TrimSpace(name) == "model name" {
			cpu = strings.TrimSpace(model)
			break
		}
	}
	kernel, _ := os.ReadFile("/proc/sys/kernel/osrelease")
	load, _ := os.ReadFile("/proc/loadavg")
	control, _ := os.ReadFile("/proc/sys/net/ipv4/tcp_congestion_control")
	said := []string{fmt.Sprintf("%s, %d × %s", time.Now().UTC().Format(time.DateOnly),
		runtime.NumCPU(), cpu), "Linux " + strings.TrimSpace(string(kernel)),
		"TCP by " + strings.TrimSpace(string(control))}
	for _, program := range [][]string{{"openvpn", "--version"}, {"zerotier-one", "-v"},
		{"iperf3", "--version"}} {
		out, _ := exec.Command(program[0], program[1:]...).Output() // openvpn exits with 1
		first, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		fields := strings.Fields(first)
		switch {
		case first == "":
			said = append(said, "no "+program[0])
		case len(fields) == 1:
			said = append(said, program[0]+" "+fields[0])
		default:
			said = append(said, strings.Join(fields[:2], " "))
		}
	}
	said = append(said, "load at the end "+strings.Join(strings.Fields(string(load))[:3], " "))
	return strings.Join(said, ", ") + "."
}

// skip skips a test or benchmark, which needs something, and has the report say so: package testing
// tells nothing of benchmarks that skip.
func skip(t testing.TB, needs string) {
	t.Helper()
	if _, ok := t.(*testing.B); ok {
		measured.skip(fmt.Sprintf("%s needs %s", t.Name(), needs))
	}
	t.Skipf("SKIPPED, NOT PASSED: %s needs %s", t.Name(), needs)
}

// require skips unless every need is met.
func require(t testing.TB, needs ...netlab.Need) {
	t.Helper()
	if missing := netlab.Missing(needs...); len(missing) > 0 {
		skip(t, strings.Join(missing, " and "))
	}
}

// reportRatio reports pairs of measurements in a unit, and the median of their ratios, of which
// more is better.
func reportRatio(b *testing.B, what, unit string, target float64, us, them, ratios []float64) {
	ratio := median(ratios)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(us), unit)
	b.ReportMetric(median(them), unit+"-compared")
	b.ReportMetric(ratio, "ratio")
	measured.add(row{what, fmt.Sprintf("%.0f %s", median(us), unit),
		fmt.Sprintf("%.0f %s: × %.2f (%.2f to %.2f)", median(them), unit, ratio,
			slices.Min(ratios), slices.Max(ratios)),
		fmt.Sprintf("≥ %.2f: %s", target, outcome(ratio >= target))})
}

// reportTime reports the median of durations in milliseconds.
func reportTime(b *testing.B, what string, limit time.Duration, found []float64) {
	reportValue(b, what, "ms", float64(limit.Milliseconds()), found...)
}

// reportValue reports the median of something that is to stay below a limit.
func reportValue(b *testing.B, what, unit string, limit float64, found ...float64) {
	value := median(found)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(value, strings.Join(strings.Fields(what+" "+unit), "-"))
	measured.add(row{what, fmt.Sprintf("%.2f %s", value, unit), "",
		fmt.Sprintf("≤ %g: %s", limit, outcome(value <= limit))})
}

func outcome(met bool) string {
	if met {
		return "met"
	}
	return "MISSED"
}

// median sorts a copy.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func TestResultsAreWritten(t *testing.T) {
	document := filepath.Join(t.TempDir(), "RESULTS.md")
	var found table
	found.add(row{"upload", "10 Mbit/s", "9 Mbit/s: × 1.11", "≥ 1.00: met"})
	found.skip("Benchmark/line needs CUBIC")
	if err := found.report(io.Discard, document); err == nil {
		t.Error("a document that does not exist is no error")
	}
	for text, usable := range map[string]bool{
		"before\n" + benchBegins + "old\n" + benchEnds + "after\n": true, "before\nafter\n": false,
	} {
		must(t, os.WriteFile(document, []byte(text), 0o644))
		if err := found.report(io.Discard, document); (err == nil) != usable {
			t.Fatalf("%q: %v", text, err)
		}
		now, err := os.ReadFile(document)
		must(t, err)
		if !usable {
			if string(now) != text {
				t.Errorf("a document without the place for a table became %q", now)
			}
			continue
		}
		for _, want := range []string{"before\n", "\nafter\n", "Linux ", "openvpn",
			"| upload | 10 Mbit/s | 9 Mbit/s: × 1.11 | ≥ 1.00: met |",
			"- Benchmark/line needs CUBIC\n"} {
			if !strings.Contains(strings.ToLower(string(now)), strings.ToLower(want)) {
				t.Errorf("%q is missing in %s", want, now)
			}
		}
		if strings.Contains(string(now), "old") {
			t.Errorf("the old table is left: %s", now)
		}
	}
}
