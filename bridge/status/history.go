package status

import (
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/clock"
)

// history records since when each state has lasted, and what changed it last.
type history map[string]entry

type entry struct {
	state  string
	change api.Change
	noted  bool // since the last expire
}

// Record records the present state of a thing and returns its last change. The first state of a
// thing has a time, but is no change.
func (l history) Record(now time.Time, thing, state, cause string) api.Change {
	old, known := l[thing]
	if known && old.state == state {
		old.noted = true
		old.change.At = byClock(now, old.change.At)
		l[thing] = old
		return old.change
	}
	change := api.Change{At: now, What: state, Cause: cause}
	if known {
		change.What = old.state + " → " + state
	}
	l[thing] = entry{state, change, true}
	return change
}

// byClock returns a past moment as the present clock has it: many boxes start with a clock that is
// wrong until they have asked a time server, and what lasts since then is not hours old.
func byClock(now, at time.Time) time.Time {
	past := now.Sub(at) // by the steady clock
	if clock.WasSet(now.Round(0).Sub(at.Round(0)), past) {
		return now.Add(-past)
	}
	return at
}

// expire drops things that were not recorded since the last call: they are over, and start again if
// they come back.
func (l history) expire() {
	for thing, e := range l {
		if !e.noted {
			delete(l, thing)
			continue
		}
		e.noted = false
		l[thing] = e
	}
}
