package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ztbridge/bridge/health"
)

// problemsTopic is the help topic that lists every kind of problem: ztbridge help problems.
func problemsTopic() *cobra.Command {
	var b strings.Builder
	b.WriteString(
		"What status, doctor, metrics and notifications can report. Codes do not change " +
			"between versions.\n")
	for _, k := range health.Kinds() {
		fmt.Fprintf(&b, "\n%s (%s, %s)\n  %s\n", k.Code, k.Severity, k.Area, k.Meaning)
		if k.Remedy != "" {
			fmt.Fprintf(&b, "  → %s\n", k.Remedy)
		}
		if len(k.DependsOn) > 0 {
			var codes []string
			for _, c := range k.DependsOn {
				codes = append(codes, string(c))
			}
			fmt.Fprintf(&b, "  may follow from: %s\n", strings.Join(codes, ", "))
		}
	}
	return &cobra.Command{
		Use:   "problems",
		Short: "List every problem that can be reported, with its meaning and remedy",
		Long:  strings.TrimSpace(b.String()),
	}
}
