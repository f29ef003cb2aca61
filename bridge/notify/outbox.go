package notify

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"ztbridge/bridge/health"
	"ztbridge/bridge/pathdial"
)

const (
	// gather is how long news wait for more, so that one cause makes one message.
	gather = 5 * time.Second
	// maxPerHour is the most that one sender gets in any hour.
	maxPerHour = 10
	// firstRetry doubles with each failure in a row, up to maxRetry.
	firstRetry = 30 * time.Second
	maxRetry   = time.Hour
	// maxEvents bounds the events of one message.
	maxEvents = 20
)

// Outbox is what one sender has still to deliver. It is plain data.
type Outbox struct {
	Pending  []*pending      `json:"pending,omitempty"`
	Sent     []time.Duration `json:"sent,omitempty"` // within the last hour, by Elapsed
	Failures int             `json:"failures,omitempty"`
	RetryAt  time.Duration   `json:"retry_at,omitempty"`
	Fault    string          `json:"fault,omitempty"` // why the last attempt failed
	Remedy   string          `json:"remedy,omitempty"`
	// NoPath reports whether it failed because there was no path.
	NoPath bool `json:"no_path,omitempty"`
	Number int  `json:"number"` // of the last change of what is pending
}

// pending is an event that is not delivered.
type pending struct {
	Key    string `json:"key"`
	Event  Event  `json:"event"`
	Since  Moment `json:"since"`
	Until  Moment `json:"until"`
	Added  Moment `json:"added"`
	Number int    `json:"number"` // changes whenever the event does
}

// Message is what a sender delivers.
type Message struct {
	Box      string          `json:"box"` // this machine's name
	Time     time.Time       `json:"time"`
	Severity health.Severity `json:"severity"`
	Title    string          `json:"title"`
	Text     string          `json:"text"` // all events, and what else there is to say
	Events   []Event         `json:"events"`
}

// add puts news beside what is pending of the same thing, or merges them.
func (o *Outbox) add(key string, e Event, since, until, now Moment) {
	o.Number++
	e.Times = 1
	i := slices.IndexFunc(o.Pending, func(p *pending) bool { return p.Key == key })
	if i < 0 {
		o.Pending = append(o.Pending, &pending{key, e, since, until, now, o.Number})
		return
	}
	p := o.Pending[i]
	p.Number = o.Number
	was, first := p.Event, p.Since
	p.Event, p.Since, p.Until = e, since, until
	switch {
	case e.State == Ended && (was.State == Began || was.State == Passed):
		p.Event.State, p.Event.Times, p.Since = Passed, was.Times, first
	case e.State == Began && was.State == Passed:
		p.Event.Times = was.Times + 1
		if e.Kind != Down {
			p.Since = first
		}
	case e.State == Changed:
		p.Event.From = was.From
		if was.From == e.To {
			p.Event.State, p.Since, p.Until = Passed, first, since
		}
	}
}

// drop forgets what is pending of a thing.
func (o *Outbox) drop(key string) {
	o.Pending = slices.DeleteFunc(o.Pending, func(p *pending) bool { return p.Key == key })
}

// due returns what is to be sent now, with the numbers of its events; nil if nothing is. unsure
// holds back what is not certain.
func (o *Outbox) due(now Moment, unsure func(key string) bool) ([]*pending, time.Duration) {
	const never = time.Duration(-1)
	var ready []*pending
	at := never
	for _, p := range o.Pending {
		if (p.Event.State == Began || p.Event.State == Changed) && unsure(p.Key) {
			continue // the next steps of the machine decide it
		}
		ready = append(ready, p)
		if t := p.Added.Elapsed + gather; at == never || t < at {
			at = t
		}
	}
	if len(ready) == 0 {
		return nil, never
	}
	o.forget(now)
	at = max(at, o.RetryAt)
	if len(o.Sent) >= maxPerHour {
		at = max(at, o.nextFree())
	}
	if at > now.Elapsed {
		return nil, at
	}
	return ready[:min(len(ready), maxEvents)], at
}

// forget drops what was sent more than an hour ago.
func (o *Outbox) forget(now Moment) {
	o.Sent = slices.DeleteFunc(o.Sent,
		func(at time.Duration) bool { return now.Elapsed-at >= time.Hour })
}

// nextFree returns when the next message may be sent after maxPerHour.
func (o *Outbox) nextFree() time.Duration { return o.Sent[len(o.Sent)-maxPerHour] + time.Hour }

// compose makes a message of events.
func (o *Outbox) compose(now Moment, box string, events []*pending) Message {
	m := Message{Box: box, Time: now.Wall.UTC(), Severity: health.Info}
	var lines []string
	for _, p := range events {
		e := p.Event
		e.Since, e.Until = p.Since.Wall.UTC(), p.Until.Wall.UTC()
		if e.State == Ended || e.State == Passed {
			e.Severity = health.Info
			e.Remedy = ""
		}
		if health.Compare(e.Severity, m.Severity) < 0 {
			m.Severity = e.Severity
		}
		m.Events = append(m.Events, e)
		lines = append(lines, e.Text())
	}
	m.Title = box + ": " + m.Events[0].title()
	if more := len(m.Events) - 1; more > 0 {
		m.Title += fmt.Sprintf(" (and %d more)", more)
	}
	if left := len(o.Pending) - len(events); left > 0 {
		lines = append(lines, fmt.Sprintf("%d more follow.", left))
	}
	if len(o.Sent)+1 >= maxPerHour {
		wait := time.Hour
		if n := len(o.Sent) + 1 - maxPerHour; n < len(o.Sent) {
			wait = o.Sent[n] + time.Hour - now.Elapsed
		}
		lines = append(lines, fmt.Sprintf("This is the last message until %s: at most %d are sent "+
			"in an hour. What happens until then follows in one.",
			clock(now.Wall.Add(wait).UTC()), maxPerHour))
	}
	m.Text = strings.Join(lines, "\n")
	return m
}

// title says an event in the fewest words.
func (e Event) title() string {
	switch {
	case e.Kind == Down && e.State == Began:
		return e.Subject + " is down"
	case e.Kind == Down:
		return e.Subject + " is up again"
	case e.Kind == Change && e.To == "":
		return "traffic of " + e.Subject + " is blocked"
	case e.Kind == Change:
		return "traffic of " + e.Subject + " leaves by " + e.To
	case e.State == Ended || e.State == Passed:
		return "solved: " + e.Message
	}
	return cmp.Or(e.Message, string(e.Kind))
}

// delivered takes what was sent out of the outbox. What changed meanwhile stays.
func (o *Outbox) delivered(now Moment, numbers []int) {
	o.Pending = slices.DeleteFunc(o.Pending,
		func(p *pending) bool { return slices.Contains(numbers, p.Number) })
	o.Sent = append(o.Sent, now.Elapsed)
	o.Failures, o.RetryAt, o.Fault, o.Remedy, o.NoPath = 0, 0, "", "", false
}

// failed puts the next attempt off. atLeast is what the other side asked for.
func (o *Outbox) failed(now Moment, err error, atLeast time.Duration) {
	wait := firstRetry
	for n := 0; n < o.Failures && wait < maxRetry; n++ {
		wait *= 2
	}
	o.Failures++
	o.Fault, o.Remedy, o.NoPath = err.Error(), remedyOf(err), errors.Is(err, ErrPathDown)
	o.RetryAt = now.Elapsed + max(min(wait, maxRetry), min(atLeast, maxRetry))
}

// remedyOf returns what a person can do about a message that was not delivered; empty: wait.
func remedyOf(err error) string {
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		return refusal.Remedy
	}
	if errors.Is(err, pathdial.ErrNoResolver) {
		return "name a DNS server under dns: of that egress"
	}
	return ""
}
