package probe

import (
	"context"
	"sync"
)

// Pair probes an egress by both IP versions independently: one may fail alone. Safe for concurrent
// use.
type Pair struct {
	of [2]*Prober // IPv4 and IPv6; nil where there is no target

	mu     sync.Mutex
	active [2]bool
}

// The places of the IP versions in a Pair and in a Status.
const (
	V4 = iota
	V6
)

// NewPair returns a pair that is not active yet. cfg applies to both; traffic6 is the IPv6 part of
// cfg.Traffic, and may be nil.
func NewPair(cfg Config, traffic6 func() Traffic) *Pair {
	p := &Pair{}
	total := cfg.Traffic
	targets := [2]Config{V4: cfg, V6: cfg}
	targets[V4].Targets, targets[V6].Targets = ofFamily(cfg.Targets, false),
		ofFamily(cfg.Targets, true)
	both := len(targets[V4].Targets) > 0 && len(targets[V6].Targets) > 0
	if both && total != nil && traffic6 != nil {
		targets[V6].Traffic = traffic6
		targets[V4].Traffic = func() Traffic { return total().Less(traffic6()) }
	}
	for v, c := range targets {
		if len(c.Targets) > 0 {
			p.of[v] = New(c)
		}
	}
	return p
}

// Less returns t without part, at least zero: counters that were read a moment apart may differ.
func (t Traffic) Less(part Traffic) Traffic {
	return Traffic{Received: t.Received - min(part.Received, t.Received),
		Sent: t.Sent - min(part.Sent, t.Sent), Bytes: t.Bytes - min(part.Bytes, t.Bytes)}
}

// SetActive starts or pauses the probing of each version. Idempotent, does not block.
func (p *Pair) SetActive(v4, v6 bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.active = [2]bool{v4, v6}
	for v, prober := range p.of {
		if prober != nil {
			prober.SetActive(p.active[v])
		}
	}
}

// Status returns the status of the version with the better grade, with the smaller MTU of both.
func (p *Pair) Status() Status {
	p.mu.Lock()
	defer p.mu.Unlock()
	var out Status
	first := true
	for v, prober := range p.of {
		if prober == nil || !p.active[v] {
			continue
		}
		st := prober.Status()
		grades, asked, mtu := out.Of, out.Asked, out.MTU
		if first || st.Grade > out.Grade {
			out = st
		}
		if mtu != 0 && (st.MTU == 0 || mtu < st.MTU) {
			out.MTU = mtu
		} else if st.MTU != 0 {
			out.MTU = st.MTU
		}
		out.Of, out.Asked = grades, asked
		out.Of[v], out.Asked[v] = st.Grade, true
		first = false
	}
	return out
}

// Run probes until ctx ends, and returns nil then.
func (p *Pair) Run(ctx context.Context) error {
	var wg sync.WaitGroup
	for _, prober := range p.of {
		if prober != nil {
			wg.Go(func() { _ = prober.Run(ctx) }) // ends with ctx alone
		}
	}
	<-ctx.Done()
	wg.Wait()
	return nil
}
