package status

import (
	"time"

	"ztbridge/bridge/api"
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
