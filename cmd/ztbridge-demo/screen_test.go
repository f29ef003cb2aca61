package main

import (
	"testing"
	"time"

	"ztbridge/bridge/lab"
)

func TestStrip(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	// One request every 50 ms; those sent within the outage are lost.
	report := func(length, outageFrom, outageTo time.Duration) lab.Report {
		var r lab.Report
		for at := time.Duration(0); at < length; at += 50 * time.Millisecond {
			round := lab.Round{Sent: start.Add(at)}
			if at < outageFrom || at >= outageTo {
				round.Received = round.Sent.Add(time.Millisecond)
			}
			r.Rounds = append(r.Rounds, round)
		}
		return r
	}
	const second = time.Second
	tests := []struct {
		name   string
		report lab.Report
		length time.Duration
		want   string
		cell   time.Duration
	}{
		{"nothing sent", lab.Report{}, second, "", 100 * time.Millisecond},
		{"all well", report(second, second, second), second, "##########", 100 * time.Millisecond},
		{"an outage that begins within a cell",
			report(second, 250*time.Millisecond, 500*time.Millisecond), second,
			"##+..#####", 100 * time.Millisecond},
		{"longer than the line", report(9*second, 0, 9*second), 9 * second,
			".............................................", 200 * time.Millisecond},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, cell := strip(tt.report, start, start.Add(tt.length))
			if got != tt.want || cell != tt.cell {
				t.Errorf("|%s| of %s, want |%s| of %s", got, cell, tt.want, tt.cell)
			}
		})
	}
}
