package config

import (
	"strings"
	"testing"
	"time"
)

func TestParseSpanHolds(t *testing.T) {
	for _, tt := range []struct {
		span    string
		in, out string // moments in UTC; 2026-03-02 is a Monday
	}{
		{"mon-fri 08:00-18:00 UTC", "2026-03-02 08:00:00, 2026-03-06 17:59:59",
			"2026-03-02 07:59:59, 2026-03-02 18:00:00, 2026-03-07 12:00:00"},
		{"sat UTC", "2026-03-07 00:00:00, 2026-03-07 23:59:59",
			"2026-03-06 23:59:59, 2026-03-08 00:00:00"},
		{"fri-mon UTC", "2026-03-06 01:00:00, 2026-03-09 23:00:00",
			"2026-03-05 23:00:00, 2026-03-10 00:00:00"},
		{"22:00-06:00 UTC", "2026-03-02 22:00:00, 2026-03-03 05:59:00, 2026-03-03 00:00:00",
			"2026-03-02 21:59:00, 2026-03-03 06:00:00"},
		{"fri 22:00-06:00 UTC", "2026-03-06 22:00:00, 2026-03-07 05:59:00",
			"2026-03-06 05:00:00, 2026-03-07 22:00:00, 2026-03-05 23:00:00"},
		{"sun 20:00-24:00 UTC", "2026-03-08 23:59:59", "2026-03-09 00:00:00, 2026-03-07 21:00:00"},
		{"SUN 00:00-24:00 UTC", "2026-03-08 00:00:00", "2026-03-09 00:00:00"},
		// Clocks there go forward on 29 March 2026, at 01:00 UTC.
		{"08:00-18:00 Europe/Berlin", "2026-03-28 07:00:00, 2026-03-29 06:00:00",
			"2026-03-28 06:59:00, 2026-03-29 05:59:00, 2026-03-29 16:00:00"},
	} {
		s, err := parseSpan(tt.span)
		if err != nil {
			t.Fatal(err)
		}
		for want, moments := range map[bool]string{true: tt.in, false: tt.out} {
			for moment := range strings.SplitSeq(moments, ", ") {
				at, err := time.Parse(time.DateTime, moment)
				if err != nil {
					t.Fatal(err)
				}
				if s.holds(at) != want {
					t.Errorf("%s at %s (%s): %v, want %v", tt.span, moment, at.Weekday(), !want,
						want)
				}
			}
		}
	}
}

// Between two changes that are told, the same times hold: looked at in each minute of a year, also
// where clocks are changed.
func TestNextChange(t *testing.T) {
	cfg := &Config{}
	for _, text := range []string{"mon-fri 08:00-18:00 Europe/Berlin",
		"sat 22:30-02:30 Europe/Berlin", // ends in the hour that clocks skip or repeat
		"sun America/New_York", "05:15-05:16 UTC"} {
		s, err := parseSpan(text)
		if err != nil {
			t.Fatal(err)
		}
		cfg.Policy = append(cfg.Policy, Rule{At: []Span{s}})
	}
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	held := func(at time.Time) (out [4]bool) {
		for i, r := range cfg.Policy {
			out[i] = r.Holds(at)
		}
		return out
	}
	next, before, changes := cfg.NextChange(now), held(now), 0
	for end := now.AddDate(1, 0, 0); now.Before(end); now = now.Add(time.Minute) {
		if !now.Before(next) {
			next, before = cfg.NextChange(now), held(now)
			changes++
			if !next.After(now) {
				t.Fatalf("the change after %v is at %v", now, next)
			}
		}
		if held(now) != before {
			t.Fatalf("what holds at %v is %v, and no change was told since %v", now, held(now),
				before)
		}
	}
	if changes < 1400 {
		t.Errorf("%d changes in a year", changes)
	}
	if !(&Config{Policy: []Rule{{}}}).NextChange(now).IsZero() {
		t.Error("a rule without times changes")
	}
}

func FuzzParseSpan(f *testing.F) {
	for _, text := range []string{"mon-fri 08:00-18:00", "sat", "22:00-06:00 Europe/Berlin", "mon-",
		"99:99-00:00", "mon ../../etc/passwd", "24:00-06:00"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseSpan(text)
		if err != nil {
			return
		}
		now := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
		if next := s.next(now); !next.After(now) || next.Sub(now) > 8*24*time.Hour {
			t.Errorf("%q changes next at %v", text, next)
		}
		held := false
		for hour := range 7 * 24 * 60 {
			held = held || s.holds(now.Add(time.Duration(hour)*time.Minute))
		}
		if !held {
			t.Errorf("%q never holds", text)
		}
	})
}
