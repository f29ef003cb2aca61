package status

import (
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/decide"
)

// An authority that is not valid keeps every client out, though all listeners are well.
func TestAuthorityOutOfTime(t *testing.T) {
	day := func(year int) time.Time { return time.Date(year, 5, 1, 0, 0, 0, 0, time.UTC) }
	for name, tt := range map[string]struct {
		from, until int
		told        bool
	}{"valid": {2025, 2045, false}, "made by a clock ahead": {2041, 2061, true},
		"made in 1970": {1970, 1990, true}} {
		s := decide.Snapshot{Now: day(2026), Faults: decide.EndpointFaults{
			AuthorityFrom: day(tt.from), AuthorityUntil: day(tt.until)}}
		got := EndpointProblems(s)
		if told := len(got) == 1 && strings.Contains(got[0].Message, "this box's clock says 2026-05-01"); told != tt.told {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got := EndpointProblems(decide.Snapshot{Now: day(2026)}); len(got) > 0 {
		t.Errorf("before the keys are read: %v", got)
	}
}
