package lab

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"time"
)

// Round is one request of a stream and its answer.
type Round struct {
	Sent     time.Time
	Received time.Time  // zero: lost
	Egress   netip.Addr // the source that the server saw; invalid for Ping and for what was lost
}

// Report is what became of the requests of a stream.
type Report struct {
	Kind     Kind
	Sent     int
	Received int
	Lost     int
	// requests that the sender's own host refused to send; they count as sent and lost
	SendErrors int
	Connects   int // TCP connections opened
	Rounds     []Round
}

func (t *tracker) report() Report {
	t.mu.Lock()
	defer t.mu.Unlock()
	return Report{
		Kind: t.kind, Sent: len(t.rounds), Received: t.received, Lost: len(t.rounds) - t.received,
		SendErrors: t.sendErrors, Connects: t.connects, Rounds: slices.Clone(t.rounds),
	}
}

// Between returns the part of the report about the requests sent in [from, to).
func (r Report) Between(from, to time.Time) Report {
	part := Report{Kind: r.Kind, SendErrors: r.SendErrors, Connects: r.Connects}
	for _, round := range r.Rounds {
		if round.Sent.Before(from) || !round.Sent.Before(to) {
			continue
		}
		part.Rounds = append(part.Rounds, round)
		part.Sent++
		if !round.Received.IsZero() {
			part.Received++
		}
	}
	part.Lost = part.Sent - part.Received
	return part
}

// LongestGap returns the longest time in which no answer came, from the first request to the last.
// An undisturbed stream's is about one interval.
func (r Report) LongestGap() time.Duration {
	if len(r.Rounds) == 0 {
		return 0
	}
	return r.Gap(r.Rounds[0].Sent, r.Rounds[len(r.Rounds)-1].Sent)
}

// Gap returns the longest time without an answer among those that overlap [from, to]. The gap that
// an event at from caused is Gap(from, time of the next event). A gap is measured to its true ends,
// also outside of the interval; what has no answer before or after it ends at the first or last
// request.
func (r Report) Gap(from, to time.Time) time.Duration {
	if len(r.Rounds) == 0 {
		return 0
	}
	times := []time.Time{r.Rounds[0].Sent}
	for _, round := range r.Rounds {
		if !round.Received.IsZero() {
			times = append(times, round.Received)
		}
	}
	slices.SortFunc(times, time.Time.Compare)
	if end := r.Rounds[len(r.Rounds)-1].Sent; end.After(times[len(times)-1]) {
		times = append(times, end)
	}
	var longest time.Duration
	for i := 1; i < len(times); i++ {
		if times[i].After(from) && times[i-1].Before(to) {
			longest = max(longest, times[i].Sub(times[i-1]))
		}
	}
	return longest
}

// Egresses returns how many answers came for requests that the server saw from each source.
func (r Report) Egresses() map[netip.Addr]int {
	count := make(map[netip.Addr]int)
	for _, round := range r.Rounds {
		if round.Egress.IsValid() {
			count[round.Egress]++
		}
	}
	return count
}

// String prints the report in one line.
func (r Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %d sent, %d answered, %d lost, longest gap %s", r.Kind, r.Sent, r.Received,
		r.Lost,
		r.LongestGap().Round(time.Millisecond))
	if r.SendErrors > 0 {
		fmt.Fprintf(&b, ", %d refused by the own host", r.SendErrors)
	}
	if r.Kind == TCP {
		fmt.Fprintf(&b, ", %d connections", r.Connects)
	}
	for _, egress := range slices.SortedFunc(maps.Keys(r.Egresses()), netip.Addr.Compare) {
		fmt.Fprintf(&b, ", seen as %s", egress)
	}
	return b.String()
}
