package e2e

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"text/tabwriter"
	"time"
)

// measured is what the benchmarks found, printed as one table when all are done.
var measured table

// table collects lines; it may be used concurrently.
type table struct {
	mu    sync.Mutex
	lines []string
}

func (t *table) add(what, found, compared, verdict string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines = append(t.lines, strings.Join([]string{what, found, compared, verdict}, "\t"))
}

// print writes the table, if there is anything in it, and how busy the machine is: with other work
// on it, absolute numbers mean little.
func (t *table) print(w io.Writer) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.lines) == 0 {
		return
	}
	load, _ := os.ReadFile("/proc/loadavg")
	fmt.Fprintf(w, "\nMedians. Load of the machine at the end: %s\n", load)
	tw := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(tw, "what\tztbridge\tcompared with\ttarget")
	fmt.Fprintln(tw, strings.Join(t.lines, "\n"))
	_ = tw.Flush()
}

// reportRatio reports pairs of measurements in a unit, and the median of their ratios, of which
// more is better.
func reportRatio(b *testing.B, what, unit string, target float64, us, them, ratios []float64) {
	ratio := median(ratios)
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(us), unit)
	b.ReportMetric(median(them), unit+"-compared")
	b.ReportMetric(ratio, "ratio")
	measured.add(what, fmt.Sprintf("%.0f %s", median(us), unit),
		fmt.Sprintf("%.0f %s: × %.2f (%.2f to %.2f)", median(them), unit, ratio,
			slices.Min(ratios), slices.Max(ratios)),
		fmt.Sprintf("≥ %.2f: %s", target, verdict(ratio >= target)))
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
	measured.add(what, fmt.Sprintf("%.2f %s", value, unit), "",
		fmt.Sprintf("≤ %g: %s", limit, verdict(value <= limit)))
}

func verdict(met bool) string {
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
