package web

import (
	"cmp"
	"context"
	"slices"
	"sync"
	"time"

	"ztbridge/bridge/api"
)

const (
	// lookWatched is how often the status is read while somebody looks at the page, lookIdle
	// otherwise.
	lookWatched = 2 * time.Second
	lookIdle    = 10 * time.Second
	// lookGap is the shortest time between two looks.
	lookGap    = 150 * time.Millisecond
	maxChanges = 60
	// maxRecalled is how many remembered changes are read, problems among them.
	maxRecalled = 4 * maxChanges
)

// rates are bytes a second, as the box sees them.
type rates struct{ in, out float64 }

// event is a change that was seen.
type event struct {
	api.Change
	subject string
}

// feed reads the status for all that watch it, and keeps what happened. Safe for concurrent use.
type feed struct {
	backend api.Backend

	mu       sync.Mutex
	status   api.Status
	counted  api.Status       // of which rates were measured last
	rates    map[string]rates // by egress
	changes  []event          // the newest first
	watchers map[chan struct{}]bool
	begun    chan struct{} // fires when the first watcher comes
}

func newFeed(backend api.Backend) *feed {
	return &feed{backend: backend, rates: map[string]rates{}, watchers: map[chan struct{}]bool{},
		begun: make(chan struct{}, 1)}
}

// run reads the status until ctx ends: at each change, and now and then.
func (f *feed) run(ctx context.Context) {
	changes := f.backend.Changes(ctx)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changes:
		case <-timer.C:
		case <-f.begun:
		}
		f.look()
		next := lookIdle
		if f.watched() {
			next = lookWatched
		}
		timer.Reset(next)
		select {
		case <-ctx.Done():
		case <-time.After(lookGap):
		}
	}
}

// look reads the status once.
func (f *feed) look() { f.take(f.backend.Status()) }

// take takes a status over and wakes the watchers.
func (f *feed) take(s api.Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.status.Time.IsZero() {
		f.recall(s.Started)
	}
	// Looks that are close together say nothing of rates.
	if d := s.Time.Sub(f.counted.Time); d >= lookWatched/2 || d < 0 {
		f.rates, f.counted = ratesOf(f.counted, s), s
	}
	f.note(s)
	f.status = s
	for c := range f.watchers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// ratesOf returns what the egresses carried between two statuses; nothing where the clock was set
// back in between.
func ratesOf(before, after api.Status) map[string]rates {
	out := map[string]rates{}
	seconds := after.Time.Sub(before.Time).Seconds()
	if seconds <= 0 {
		return out
	}
	for _, e := range after.Egresses {
		i := slices.IndexFunc(before.Egresses,
			func(b api.Egress) bool { return b.Name == e.Name && b.Interface == e.Interface })
		if i < 0 {
			continue
		}
		was := before.Egresses[i].Counters
		// A device that was made again counts from zero.
		if e.Counters.BytesIn < was.BytesIn || e.Counters.BytesOut < was.BytesOut {
			continue
		}
		out[e.Name] = rates{float64(e.Counters.BytesIn-was.BytesIn) / seconds,
			float64(e.Counters.BytesOut-was.BytesOut) / seconds}
	}
	return out
}

// recall adds what the box remembers from before the daemon started. Without a history that is
// nothing. The caller holds mu.
func (f *feed) recall(started time.Time) {
	backend, ok := f.backend.(api.HistoryBackend)
	if !ok {
		return
	}
	past, err := backend.PastChanges(api.LastMonth, maxRecalled)
	if err != nil {
		return
	}
	subjects := map[string]string{"box": "This box", "wan": internetConnection}
	for _, c := range past {
		if c.At.Before(started) && c.Kind != "problem" { // those that last are told by themselves
			f.changes = append(f.changes, event{api.Change{At: c.At, What: c.What, Cause: c.Cause},
				cmp.Or(c.Name, subjects[c.Kind])})
		}
	}
}

// internetConnection is what people call the box's WAN.
const internetConnection = "Internet connection"

// note adds the changes that a status tells of and that were not seen before. The caller holds mu.
func (f *feed) note(s api.Status) {
	for _, e := range eventsOf(s) {
		if !slices.Contains(f.changes, e) {
			f.changes = append(f.changes, e)
		}
	}
	slices.SortStableFunc(f.changes, func(a, b event) int { return b.At.Compare(a.At) })
	if len(f.changes) > maxChanges {
		f.changes = f.changes[:maxChanges]
	}
}

// eventsOf returns the last change of each thing in a status.
func eventsOf(s api.Status) []event {
	var out []event
	add := func(subject string, c api.Change) {
		if !c.At.IsZero() {
			out = append(out, event{c, subject})
		}
	}
	add(internetConnection, s.WAN.LastChange)
	for _, i := range s.Ingresses {
		add(i.Name, i.LastChange)
	}
	for _, e := range s.Egresses {
		add(e.Name, e.LastChange)
	}
	for _, p := range s.Policies {
		if len(p.Wanted) > 0 { // what is always blocked never changes
			add(namesOf(p), api.Change{At: p.Since, What: "now " + leavesBy(p), Cause: p.Why})
		}
	}
	return out
}

// snapshot is what the feed knows at one moment.
type snapshot struct {
	status  api.Status
	rates   map[string]rates
	changes []event
}

// latest returns what was read last; the caller must not change it.
func (f *feed) latest() snapshot {
	f.mu.Lock()
	defer f.mu.Unlock()
	return snapshot{f.status, f.rates, slices.Clone(f.changes)}
}

// watch returns a channel (capacity one) that gets a value after each look, until stop is called.
func (f *feed) watch() (news <-chan struct{}, stop func()) {
	c := make(chan struct{}, 1)
	f.mu.Lock()
	f.watchers[c] = true
	f.mu.Unlock()
	select {
	case f.begun <- struct{}{}:
	default:
	}
	return c, func() {
		f.mu.Lock()
		delete(f.watchers, c)
		f.mu.Unlock()
	}
}

func (f *feed) watched() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.watchers) > 0
}
