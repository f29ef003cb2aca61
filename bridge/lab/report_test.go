package lab

import (
	"net/netip"
	"testing"
	"time"
)

func TestReportGap(t *testing.T) {
	start := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	at := func(ms int) time.Time { return start.Add(time.Duration(ms) * time.Millisecond) }
	// Requests every 10 ms for a second, answered at once but for those of the outages.
	stream := func(outages ...[2]int) Report {
		var r Report
		for ms := 0; ms <= 1000; ms += 10 {
			round := Round{Sent: at(ms), Received: at(ms)}
			for _, o := range outages {
				if ms > o[0] && ms < o[1] {
					round.Received = time.Time{}
				}
			}
			r.Rounds = append(r.Rounds, round)
		}
		return r
	}
	tests := []struct {
		name     string
		report   Report
		from, to int
		want     int
	}{
		{"undisturbed", stream(), 0, 1000, 10},
		{"an outage inside", stream([2]int{300, 500}), 200, 900, 200},
		{"an outage that overlaps the beginning", stream([2]int{300, 500}), 400, 900, 200},
		{"an outage before", stream([2]int{300, 500}), 600, 900, 10},
		{"the longer of two", stream([2]int{100, 200}, [2]int{400, 700}), 0, 1000, 300},
		{"each event its own", stream([2]int{100, 200}, [2]int{400, 700}), 90, 390, 100},
		{"no answer any more", stream([2]int{400, 2000}), 300, 2000, 600},
		{"no answer at first", stream([2]int{-1, 300}), 0, 1000, 300},
		{"never an answer", stream([2]int{-1, 2000}), 0, 1000, 1000},
		{"nothing sent", Report{}, 0, 1000, 0},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			want := time.Duration(tt.want) * time.Millisecond
			if got := tt.report.Gap(at(tt.from), at(tt.to)); got != want {
				t.Errorf("gap %s, want %s", got, want)
			}
		})
	}
	part := stream([2]int{300, 500}).Between(at(300), at(400))
	if part.Sent != 10 || part.Lost != 9 {
		t.Errorf("between: %d sent, %d lost, want 10 and 9", part.Sent, part.Lost)
	}
}

func TestNthSubnet(t *testing.T) {
	tests := []struct {
		prefix string
		i      int
		want   string
	}{
		{"10.8.0.0/24", 0, "10.8.0.0/24"},
		{"10.8.0.0/24", 1, "10.8.1.0/24"},
		{"192.168.50.0/26", 3, "192.168.50.192/26"},
		{"fd08::/64", 2, "fd08:0:0:2::/64"},
	}
	for _, tt := range tests {
		if got := nthSubnet(netip.MustParsePrefix(tt.prefix), tt.i); got.String() != tt.want {
			t.Errorf("subnet %d after %s: %s, want %s", tt.i, tt.prefix, got, tt.want)
		}
	}
}
