package history

import (
	"maps"
	"math"
	"slices"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
)

// thing is what has a series.
type thing struct{ kind, name string }

func (t thing) bucket() []byte { return []byte(t.kind + "/" + t.name) }

const (
	kindEgress  = "egress"
	kindIngress = "ingress"

	// maxPerHour bounds the changes of an hour: who flaps more often than this tells nothing new.
	maxPerHour = 12
	// maxHours bounds what is kept in memory while the disk takes nothing.
	maxHours = 24
)

// memory is what is not on the disk yet.
type memory struct {
	hours    map[time.Time]map[thing]*block
	changes  []api.PastChange
	counters map[thing]api.Counters
	states   map[thing]state
	perHour  map[time.Time]int
	devices  deviceTotals
}

// state is how a thing was seen last.
type state struct {
	what string
	at   time.Time // of its last change, where the status tells
}

func newMemory() memory {
	return memory{hours: map[time.Time]map[thing]*block{}, counters: map[thing]api.Counters{},
		states: map[thing]state{}, perHour: map[time.Time]int{}}
}

// observe takes over a status: what was carried since the last one, and what changed. The zero
// status says that nothing is to be recorded: what is carried until the next one is nobody's.
func (m *memory) observe(s api.Status) {
	switch {
	case s.Time.IsZero():
		clear(m.counters)
		return
	case s.State == api.Starting:
		return
	}
	for _, e := range s.Egresses {
		m.add(s.Time, thing{kindEgress, e.Name}, e.Counters, sample{taken: true, up: e.Usable,
			rtt: uint64(math.Round(max(e.RTT, 0) * 1e4)), loss: uint64(math.Round(e.Loss * 100))})
	}
	for _, i := range s.Ingresses {
		m.add(s.Time, thing{kindIngress, i.Name}, i.Counters,
			sample{taken: true, up: i.State == "up"})
	}
	m.devices.now = s.Traffic
	m.changed(s)
	m.bound(s.Time)
}

// add counts what a thing carried in this minute.
func (m *memory) add(now time.Time, t thing, c api.Counters, s sample) {
	old, known := m.counters[t]
	m.counters[t] = c
	if known {
		s.in, s.out = since(old.BytesIn, c.BytesIn), since(old.BytesOut, c.BytesOut)
	}
	hour := now.UTC().Truncate(time.Hour)
	if m.hours[hour] == nil {
		m.hours[hour] = map[thing]*block{}
	}
	b := m.hours[hour][t]
	if b == nil {
		b = &block{}
		m.hours[hour][t] = b
	}
	at := &b[now.UTC().Minute()]
	s.in, s.out = s.in+at.in, s.out+at.out
	*at = s
}

// since returns what was counted between two readings. A counter that became smaller began again,
// with the interface.
func since(old, now uint64) uint64 {
	if now < old {
		return now
	}
	return now - old
}

// changed notes every state that is another one than last time. What is seen for the first time is
// no change of it, but for problems.
func (m *memory) changed(s api.Status) {
	m.note(s.Time, thing{kind: "box"}, string(s.State), time.Time{}, s.Summary)
	wan := "down"
	if s.WAN.Up {
		wan = "up"
	}
	m.note(s.Time, thing{kind: "wan"}, wan, s.WAN.LastChange.At, s.WAN.LastChange.Cause)
	for _, e := range s.Egresses {
		m.note(s.Time, thing{kindEgress, e.Name}, e.State, e.LastChange.At, e.LastChange.Cause)
	}
	for _, i := range s.Ingresses {
		m.note(s.Time, thing{kindIngress, i.Name}, i.State, i.LastChange.At, i.LastChange.Cause)
	}
	for _, p := range s.Policies {
		to := p.Exits()
		if p.Off {
			to = "not in force"
		}
		m.note(s.Time, thing{"policy", p.Name}, to, p.Since, p.Why)
	}
	m.problems(s)
}

func (m *memory) note(now time.Time, t thing, what string, at time.Time, cause string) {
	old, known := m.states[t]
	m.states[t] = state{what, at}
	if !known || old.what == what {
		return
	}
	if at.IsZero() || at.Before(old.at) || at.After(now) {
		at = now
	}
	m.change(api.PastChange{At: at.UTC(), Kind: t.kind, Name: t.name, What: old.what + " → " + what,
		Cause: cause})
}

// problems notes which begin and which end.
func (m *memory) problems(s api.Status) {
	const kind = "problem"
	present := map[thing]bool{}
	for _, c := range s.Conditions {
		if !c.Severity.AtLeast(health.Warning) {
			continue
		}
		name := string(c.Code)
		if c.Subject != "" {
			name += " " + c.Subject
		}
		t := thing{kind, name}
		present[t] = true
		if _, known := m.states[t]; !known {
			m.states[t] = state{what: string(c.Severity)}
			m.change(api.PastChange{At: s.Time.UTC(), Kind: kind, Name: name, What: "began",
				Cause: c.Message})
		}
	}
	for t := range m.states {
		if t.kind == kind && !present[t] {
			delete(m.states, t)
			m.change(api.PastChange{At: s.Time.UTC(), Kind: kind, Name: t.name, What: "ended"})
		}
	}
}

func (m *memory) change(c api.PastChange) {
	hour := c.At.Truncate(time.Hour)
	if m.perHour[hour] >= maxPerHour {
		return
	}
	m.perHour[hour]++
	c.Cause = cut(c.Cause, 150)
	c.What = cut(c.What, 100)
	m.changes = append(m.changes, c)
}

func cut(text string, most int) string {
	if len(text) <= most {
		return text
	}
	runes := []rune(text)
	return string(runes[:min(len(runes), most/2)]) + "…"
}

// bound keeps memory small while nothing can be written.
func (m *memory) bound(now time.Time) {
	for hour := range m.perHour {
		if d := now.Sub(hour); d > 2*time.Hour || d < -2*time.Hour {
			delete(m.perHour, hour)
		}
	}
	m.changes = m.changes[max(0, len(m.changes)-maxHours*maxPerHour):]
	if len(m.hours) > maxHours {
		oldest := slices.MinFunc(slices.Collect(maps.Keys(m.hours)), time.Time.Compare)
		delete(m.hours, oldest)
	}
}

// written forgets what is on the disk: all but the hour that goes on.
func (m *memory) written(now time.Time) {
	m.changes = nil
	for hour := range m.hours {
		if !hour.Equal(now.UTC().Truncate(time.Hour)) {
			delete(m.hours, hour)
		}
	}
}
