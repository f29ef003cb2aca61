package api

import (
	"fmt"
	"strings"
	"text/tabwriter"
)

// RenderChanges draws changes for people, one a line.
func RenderChanges(changes []PastChange) string {
	if len(changes) == 0 {
		return "Nothing changed.\n"
	}
	var b strings.Builder
	for _, c := range changes {
		line := c.Kind
		if c.Name != "" {
			line += " " + c.Name
		}
		line += ": " + c.What
		if c.Cause != "" {
			line += " (" + c.Cause + ")"
		}
		fmt.Fprintf(&b, "%s  %s\n", c.At.Local().Format("2006-01-02 15:04:05"),
			strings.Map(printable, line))
	}
	return b.String()
}

// RenderSeries draws a series for people, one step a line.
func RenderSeries(points []Point, span Span) string {
	layout := "01-02 15:04"
	if span == LastYear {
		layout = "2006-01-02"
	}
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintln(w, "from\tin\tout\tup\tround trip\tlost\t")
	for _, p := range points {
		at := p.At.Local().Format(layout)
		if p.Minutes == 0 {
			fmt.Fprintf(w, "%s\t-\t-\t-\t-\t-\t\n", at)
			continue
		}
		rtt := "-"
		if p.RTT > 0 {
			rtt = fmt.Sprintf("%.0f ms", p.RTT*1000)
		}
		fmt.Fprintf(w, "%s\t%s\t%s\t%.0f %%\t%s\t%.1f %%\t\n", at, size(p.BytesIn),
			size(p.BytesOut), 100*p.Up, rtt, 100*p.Loss)
	}
	_ = w.Flush() // a strings.Builder takes all
	return b.String()
}
