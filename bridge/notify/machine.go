package notify

import (
	"slices"
	"time"

	"ztbridge/bridge/api"
)

// Machine decides what is told, to whom and when. It is plain data, which a restart reads back, and
// belongs to one goroutine. Its only clock is the Moment that it is given.
//
//	      present             ≥ after: Began            well ≥ calm: Ended
//	(none) ─────▶ waiting ───────────────────▶ told ─────────────────────▶ (none)
//	   ▲             │ well ≥ calm              ▲  │ well
//	   └─────────────┘                          └──┘ present again
type Machine struct {
	// Last is the moment of the last step. Elapsed goes on from there after a restart.
	Last     Moment              `json:"last"`
	Episodes map[string]*episode `json:"episodes"`
	Routes   map[string]*leaving `json:"routes"`
	Relapses map[string]*relapse `json:"relapses"`
	Outboxes map[string]*Outbox  `json:"outboxes"`

	began time.Duration // Elapsed at the first step of this process
	ran   bool          // it has made a step
}

// episode is a fact for as long as it lasts.
type episode struct {
	Event Event  `json:"event"`
	Began Moment `json:"began"`
	Well  Moment `json:"well"` // since when it is over; of no meaning while it is not
	Over  bool   `json:"over"`
	Told  bool   `json:"told"`
}

// leaving is where a rule's traffic leaves.
type leaving struct {
	Told  string `json:"told"` // as people know it
	Now   string `json:"now"`
	Since Moment `json:"since"` // of Now
}

// relapse counts how often a thing was told within a while.
type relapse struct {
	Count int           `json:"count"`
	At    time.Duration `json:"at"`
}

// Settings are what a person wants to be told.
type Settings struct {
	Kinds     []Kind
	DownAfter time.Duration // how long an egress must be down
}

const (
	// routeDebounce is how long traffic must leave by another egress until it is told, at first.
	routeDebounce = 30 * time.Second
	// jump is how far the wall clock may drift from Elapsed until it counts as set again.
	jump = 5 * time.Second
)

// NewMachine returns a machine that has seen nothing.
func NewMachine() *Machine { return new(Machine).filled() }

func (m *Machine) filled() *Machine {
	if m.Episodes == nil {
		m.Episodes = map[string]*episode{}
	}
	if m.Routes == nil {
		m.Routes = map[string]*leaving{}
	}
	if m.Relapses == nil {
		m.Relapses = map[string]*relapse{}
	}
	if m.Outboxes == nil {
		m.Outboxes = map[string]*Outbox{}
	}
	return m
}

// SetSenders makes the outboxes those of these senders. One that is new is told what happens from
// now on.
func (m *Machine) SetSenders(names []string) {
	for name := range m.Outboxes {
		if !slices.Contains(names, name) {
			delete(m.Outboxes, name)
		}
	}
	for _, name := range names {
		if m.Outboxes[name] == nil {
			m.Outboxes[name] = &Outbox{}
		}
	}
}

// Step takes over a status. It reports whether anything is worth writing down. Elapsed must not go
// back.
func (m *Machine) Step(now Moment, s api.Status, set Settings) (changed bool) {
	m.setClock(now)
	if s.State == api.Starting || s.Time.IsZero() {
		return false
	}
	changed = m.stepFacts(now, s, set)
	if m.stepRoutes(now, s, slices.Contains(set.Kinds, Change)) {
		changed = true
	}
	return changed
}

// setClock corrects what was noted by a wall clock that was wrong, as it is at the start of a box
// without a battery.
func (m *Machine) setClock(now Moment) {
	if !m.ran {
		m.ran, m.began, m.Last = true, now.Elapsed, now
		return
	}
	by := now.Wall.Sub(m.Last.Wall) - (now.Elapsed - m.Last.Elapsed)
	m.Last = now
	if by.Abs() < jump {
		return
	}
	correct := func(at *Moment) {
		if at.Elapsed >= m.began {
			at.Wall = at.Wall.Add(by)
		}
	}
	for _, e := range m.Episodes {
		correct(&e.Began)
		correct(&e.Well)
	}
	for _, r := range m.Routes {
		correct(&r.Since)
	}
	for _, o := range m.Outboxes {
		for _, p := range o.Pending {
			correct(&p.Since)
			correct(&p.Until)
		}
	}
}

func (m *Machine) stepFacts(now Moment, s api.Status, set Settings) (changed bool) {
	present := map[string]bool{}
	for _, f := range factsOf(s, set.DownAfter) {
		if !slices.Contains(set.Kinds, f.Kind) {
			continue
		}
		present[f.key] = true
		e := m.Episodes[f.key]
		if e == nil {
			e = &episode{Began: now}
			m.Episodes[f.key] = e
		}
		f.Unsteady = e.Event.Unsteady || e.Over
		e.Event, e.Over = f.Event, false
		if !e.Told && !f.quiet && now.Elapsed-e.Began.Elapsed >= f.after {
			e.Told, changed = true, true
			m.add(f.key, Began, e.Event, e.Began, Moment{})
		}
	}
	for key, e := range m.Episodes {
		if present[key] {
			continue
		}
		if !e.Over {
			e.Over, e.Well = true, now
		}
		gone := !slices.Contains(set.Kinds, e.Event.Kind) ||
			e.Event.Kind == Down && !slices.ContainsFunc(s.Egresses,
				func(of api.Egress) bool { return of.Name == e.Event.Subject })
		switch {
		case gone: // the person does not want to know, or has taken it out
			for _, o := range m.Outboxes {
				o.drop(key)
			}
		case now.Elapsed-e.Well.Elapsed < m.calmOf(key, e):
			continue
		case e.Told && e.Event.Kind != Update:
			m.relapsed(key, now)
			m.add(key, Ended, e.Event, e.Began, e.Well)
		}
		changed = changed || e.Told
		delete(m.Episodes, key)
	}
	return changed
}

// calmOf returns how long a thing must be well until it counts as over.
func (m *Machine) calmOf(key string, e *episode) time.Duration {
	if e.Event.Kind == Update {
		return updateCalm
	}
	if !e.Told {
		return calm
	}
	return m.grown(calm, key)
}

// grown returns a time that doubles with each relapse.
func (m *Machine) grown(at time.Duration, key string) time.Duration {
	r := m.Relapses[key]
	for n := 0; r != nil && n < r.Count && at < maxCalm; n++ {
		at *= 2
	}
	return min(at, maxCalm)
}

// relapsed counts that a thing was told. What was well for long begins again.
func (m *Machine) relapsed(key string, now Moment) {
	for of, r := range m.Relapses {
		if now.Elapsed-r.At > 4*maxCalm {
			delete(m.Relapses, of)
		}
	}
	r := m.Relapses[key]
	if r == nil {
		r = &relapse{}
		m.Relapses[key] = r
	}
	r.Count, r.At = r.Count+1, now.Elapsed
}

// stepRoutes tells of traffic that leaves by another egress for good. The first that is seen of a
// rule is no change.
func (m *Machine) stepRoutes(now Moment, s api.Status, wanted bool) (changed bool) {
	listed := map[string]bool{}
	for _, r := range routesOf(s) {
		key := "route " + r.key
		listed[key] = true
		l := m.Routes[key]
		switch {
		case l == nil && r.to == "":
			continue // as at each start
		case l == nil || !wanted:
			m.Routes[key] = &leaving{Told: r.to, Now: r.to, Since: now}
			changed = changed || l == nil
			continue
		case l.Now != r.to:
			l.Now, l.Since = r.to, now
		}
		if l.Now == l.Told || now.Elapsed-l.Since.Elapsed < m.grown(routeDebounce, key) {
			continue
		}
		event := Event{Kind: Change, Subject: r.of, Severity: changeSeverity(r.to), From: l.Told,
			To: r.to, Message: r.why}
		l.Told, changed = r.to, true
		m.relapsed(key, now)
		m.add(key, Changed, event, l.Since, Moment{})
	}
	for key := range m.Routes {
		if !listed[key] {
			delete(m.Routes, key)
			changed = true
		}
	}
	return changed
}

// add puts news into every outbox.
func (m *Machine) add(key string, state State, e Event, since, until Moment) {
	e.State = state
	for _, o := range m.Outboxes {
		o.add(key, e, since, until, m.Last)
	}
}

// unsure reports whether a thing is about to be otherwise than was told: to tell it now could be
// wrong.
func (m *Machine) unsure(key string) bool {
	if l := m.Routes[key]; l != nil {
		return l.Now != l.Told
	}
	e := m.Episodes[key]
	return e != nil && e.Over
}

// undecided reports whether time alone may bring news.
func (m *Machine) undecided() bool {
	for _, e := range m.Episodes {
		if !e.Told || e.Over {
			return true
		}
	}
	for _, l := range m.Routes {
		if l.Now != l.Told {
			return true
		}
	}
	return false
}
