package status

import (
	"time"

	"ztbridge/bridge/api"
)

// history remembers since when things are as they are, and what changed them last.
type history map[string]entry

type entry struct {
	state  string
	change api.Change
	noted  bool // since the last forget
}

// Record records the present state of a thing and returns its last change. The first state of a
// thing is no change of it, but it has a beginning.
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

// expire drops what was not noted since the last time: it is over, and what comes back begins anew.
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
