package history

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"go.etcd.io/bbolt"

	"ztbridge/bridge/api"
)

// Series returns what one thing carried. ErrNotFound: nothing is known of it.
func (s *Store) Series(q api.HistoryQuery, now time.Time) ([]api.Point, error) {
	whole, step := q.Span.Length()
	t := thing{q.Kind, q.Name}
	first := now.UTC().Add(-whole).Truncate(step)
	hours := map[time.Time]block{}
	err := s.view(func(tx *bbolt.Tx) error { return readHours(tx, t, first, now, hours) })
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	for hour, things := range s.mem.hours {
		if b := things[t]; b != nil {
			fresh := *b
			fresh.overlay(hours[hour])
			hours[hour] = fresh
		}
	}
	_, current := s.mem.counters[t]
	s.mu.Unlock()
	if len(hours) == 0 && !current {
		return nil, fmt.Errorf("%s %q: %w", q.Kind, q.Name, api.ErrNotFound)
	}
	var out []api.Point
	for at := first; !at.After(now); at = at.Add(step) {
		out = append(out, point(at, step, hours))
	}
	return out, nil
}

func readHours(tx *bbolt.Tx, t thing, from, until time.Time, hours map[time.Time]block) error {
	bucket := tx.Bucket(t.bucket())
	if bucket == nil {
		return nil
	}
	c := bucket.Cursor()
	last := string(hourKey(until))
	for k, v := c.Seek(hourKey(from)); k != nil && string(k) <= last; k, v = c.Next() {
		var b block
		if b.decode(v) == nil { // one that cannot be read costs one hour
			hours[hourOf(k)] = b
		}
	}
	return nil
}

// point merges the samples of one step.
func point(at time.Time, step time.Duration, hours map[time.Time]block) api.Point {
	p := api.Point{At: at}
	var rtts, up int
	for minute := at; minute.Before(at.Add(step)); minute = minute.Add(time.Minute) {
		b, ok := hours[minute.Truncate(time.Hour)]
		if !ok {
			continue
		}
		s := b[minute.Minute()]
		if !s.taken {
			continue
		}
		p.Minutes++
		p.BytesIn, p.BytesOut = p.BytesIn+s.in, p.BytesOut+s.out
		p.Loss += float64(s.loss) / 100
		if s.up {
			up++
		}
		if s.rtt > 0 {
			rtts++
			p.RTT += float64(s.rtt) / 1e4
		}
	}
	if p.Minutes > 0 {
		p.Loss /= float64(p.Minutes)
		p.Up = float64(up) / float64(p.Minutes)
	}
	if rtts > 0 {
		p.RTT /= float64(rtts)
	}
	return p
}

// Changes returns the changes of a span, newest first, at most limit.
func (s *Store) Changes(span api.Span, limit int, now time.Time) ([]api.PastChange, error) {
	whole, _ := span.Length()
	from := now.Add(-whole)
	s.mu.Lock()
	out := slices.Clone(s.mem.changes)
	s.mu.Unlock()
	out = slices.DeleteFunc(out, func(c api.PastChange) bool { return c.At.Before(from) })
	err := s.view(func(tx *bbolt.Tx) error {
		bucket := tx.Bucket(changesBucket)
		if bucket == nil {
			return nil
		}
		c := bucket.Cursor()
		first := string(changeKey(from, 0))
		for k, v := c.Last(); k != nil && string(k) >= first &&
			len(out) < 2*limit; k, v = c.Prev() {
			var one api.PastChange
			if json.Unmarshal(v, &one) == nil {
				out = append(out, one)
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	slices.SortStableFunc(out, func(a, b api.PastChange) int { return b.At.Compare(a.At) })
	return append([]api.PastChange{}, out[:min(len(out), limit)]...), nil
}
