package config

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	_ "time/tzdata" // an SD image has no time zones of its own
)

// Span is a part of each week, such as mon-fri 08:00-18:00.
type Span struct {
	Text string // as it was written
	// Days are those on which it begins, from Sunday on.
	Days [7]bool
	// From and To are times of the day. Where To is not after From, it ends on the next day.
	From, To time.Duration
	// Zone is the time zone of both; never nil.
	Zone *time.Location
}

// holds reports whether a moment is in the span. The clock on the wall decides, also on the days on
// which it is put forward or back.
func (s Span) holds(t time.Time) bool {
	t = t.In(s.Zone)
	clock := time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute
	today, yesterday := s.Days[t.Weekday()], s.Days[(t.Weekday()+6)%7]
	if s.From < s.To {
		return today && s.From <= clock && clock < s.To
	}
	return today && clock >= s.From || yesterday && clock < s.To
}

// next returns the first moment after t at which the span begins or ends, or clocks are changed.
func (s Span) next(t time.Time) time.Time {
	t = t.In(s.Zone)
	_, first := t.ZoneBounds() // zero: they are never changed again
	_, offset := t.Zone()
	zone := time.FixedZone("", offset) // until then
	for day := -1; day <= 8; day++ {
		if !s.Days[time.Date(t.Year(), t.Month(), t.Day()+day, 12, 0, 0, 0, zone).Weekday()] {
			continue
		}
		for i, clock := range []time.Duration{s.From, s.To} {
			date := t.Day() + day
			if i == 1 && s.To <= s.From {
				date++
			}
			at := time.Date(t.Year(), t.Month(), date, int(clock/time.Hour),
				int(clock%time.Hour/time.Minute), 0, 0, zone)
			if at.After(t) && (first.IsZero() || at.Before(first)) {
				first = at
			}
		}
	}
	return first
}

// Holds reports whether a rule is in force at a moment: always, unless it has times.
func (r Rule) Holds(t time.Time) bool {
	return len(r.At) == 0 || slices.ContainsFunc(r.At, func(s Span) bool { return s.holds(t) })
}

// NextChange returns a moment after t until which the same rules are in force; zero: forever.
func (c *Config) NextChange(t time.Time) time.Time {
	var first time.Time
	for _, r := range c.Policy {
		for _, s := range r.At {
			if next := s.next(t); first.IsZero() || next.Before(first) {
				first = next
			}
		}
	}
	return first
}

// Times returns the times of a rule as they were written.
func (r Rule) Times() []string {
	var out []string
	for _, s := range r.At {
		out = append(out, s.Text)
	}
	return out
}

var (
	weekdays = []string{"sun", "mon", "tue", "wed", "thu", "fri", "sat"}
	spanRE   = regexp.MustCompile(`^(?i)(?:([a-z]{3})(?:-([a-z]{3}))?)?` +
		`(?:(?:^|\s+)(\d\d:\d\d)-(\d\d:\d\d))?(?:\s+([A-Za-z][A-Za-z0-9_+/-]*))?$`)
)

// spans decodes the times of a rule.
func (v value) spans() []Span {
	var out []Span
	for _, item := range v.some("the list is empty", "name times, or leave `at:` out for always") {
		text, ok := item.text()
		if !ok {
			continue
		}
		s, err := parseSpan(text)
		if err != nil {
			item.fail(ErrValue, fmt.Sprintf("%q is no part of a week: %v", text, err),
				`write it as "mon-fri 08:00-18:00", "sat", "22:00-06:00" or `+
					`"mon-fri 08:00-18:00 Europe/Berlin"`)
			continue
		}
		out = append(out, s)
	}
	return out
}

// parseSpan reads "mon-fri 08:00-18:00 Europe/Berlin". Days or times may be missing. Without a
// zone, the box's own applies.
func parseSpan(text string) (Span, error) {
	m := spanRE.FindStringSubmatch(text)
	if m == nil || m[1] == "" && m[3] == "" {
		return Span{}, fmt.Errorf("it needs days, times, or both")
	}
	s := Span{Text: text, To: 24 * time.Hour, Zone: time.Local}
	first, last := 1, 7 // every day
	if m[1] != "" {
		first = slices.Index(weekdays, strings.ToLower(m[1]))
		last = first
		if m[2] != "" {
			last = slices.Index(weekdays, strings.ToLower(m[2]))
		}
		if first < 0 || last < 0 {
			return Span{}, fmt.Errorf("the days are %s", strings.Join(weekdays, ", "))
		}
		if last < first {
			last += 7
		}
	}
	for day := first; day <= last; day++ {
		s.Days[day%7] = true
	}
	if m[3] != "" {
		var err error
		if s.From, err = clockOf(m[3]); err == nil {
			s.To, err = clockOf(m[4])
		}
		switch {
		case err != nil:
			return Span{}, err
		case s.From == s.To:
			return Span{}, fmt.Errorf(
				"it ends when it begins; leave the times out for the whole day")
		case s.From == 24*time.Hour:
			return Span{}, fmt.Errorf("a day begins at 00:00")
		}
	}
	if m[5] != "" {
		zone, err := time.LoadLocation(m[5])
		if err != nil {
			return Span{}, fmt.Errorf("there is no time zone %q", m[5])
		}
		s.Zone = zone
	}
	return s, nil
}

// clockOf reads a time of the day, of which 24:00 is the end.
func clockOf(text string) (time.Duration, error) {
	if text == "24:00" {
		return 24 * time.Hour, nil
	}
	t, err := time.Parse("15:04", text)
	if err != nil {
		return 0, fmt.Errorf("%s is no time of the day", text)
	}
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute, nil
}
