package services

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"

	"ztbridge/bridge/api"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/pathcheck"
	"ztbridge/bridge/probe"
	"ztbridge/bridge/sockopt"
	"ztbridge/bridge/step"
)

const (
	// resolverInUse is how often the resolvers of an egress are asked while it carries clients'
	// traffic. resolverIdle applies while clients are silent. Idle costs some 0.4 MB a day for
	// each. More often than every two seconds would keep openvpn busy (see probe).
	resolverInUse, resolverIdle = 2200 * time.Millisecond, 30 * time.Second
	// resolverLook is how often is looked whether clients send anything.
	resolverLook = time.Second
	// resolverTimeout is how long to wait for a reply before asking again. A resolver that misses
	// two is dead.
	resolverTimeout = 400 * time.Millisecond
	resolverTries   = 2
	// resolverHold is how long a resolver that was dead must answer before it is used again.
	resolverHold = 30 * time.Second
	// resolverFault is how long a resolver must be dead before its egress falls silent for that to
	// be the resolver's fault. An outage of the egress may show at its resolver first.
	resolverFault = 5 * time.Second
)

// resolvers asks the resolvers of all egresses, each through its egress, and records which are
// dead. Safe for concurrent use.
type resolvers struct {
	trigger *Trigger
	changed func() // has paths tested that lead to a resolver; nil: nothing to do
	wake    chan struct{}
	traffic func() map[string]api.Counters // of each interface

	mu     sync.Mutex
	asked  map[resolverKey]*resolverState
	inUse  map[string]bool // egresses
	enter  []string        // interfaces that clients' packets enter by
	probed map[string]bool // egresses that packets get through
}

// resolverKey is one resolver of one egress.
type resolverKey struct {
	egress string
	addr   netip.Addr
	mark   uint32
}

type resolverState struct {
	last  time.Time // when it was asked
	sent  uint64    // packets that clients had sent then
	well  time.Time // since when it answers again
	named bool      // it has answered as one that looks names up
	died  time.Time // when it began to fail
	fails bool
}

func newResolvers(trigger *Trigger) *resolvers {
	return &resolvers{trigger: trigger, wake: make(chan struct{}, 1), traffic: readTraffic,
		asked: map[resolverKey]*resolverState{}}
}

// set replaces the resolvers, after a decision.
func (r *resolvers) set(d decide.Decision, s decide.Snapshot) {
	asked, inUse, probed := map[resolverKey]bool{}, map[string]bool{}, map[string]bool{}
	for _, c := range d.Choices {
		inUse[c.Egress], inUse[c.Egress6] = true, true
	}
	for i, e := range d.Intent.Egresses {
		if s.Probes[e.Name].Grade < probe.Fresh || e.ResolverPort != 0 {
			continue
		}
		probed[e.Name] = true
		for _, a := range e.DNS {
			asked[resolverKey{e.Name, a, decide.ProbeMark(i)}] = true
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	known := map[string]bool{}
	for _, e := range d.Intent.Egresses {
		known[e.Name] = true
	}
	now := time.Now()
	for k, st := range r.asked {
		// While nothing gets through an egress, its resolvers are not asked and keep their state.
		if known[k.egress] && !probed[k.egress] && st.fails && now.Sub(st.died) < resolverFault {
			*st = resolverState{named: st.named}
		}
		if !asked[k] && (probed[k.egress] || !known[k.egress]) {
			delete(r.asked, k)
		}
	}
	for k := range asked {
		if r.asked[k] == nil {
			r.asked[k] = &resolverState{}
		}
	}
	r.inUse, r.probed, r.enter = inUse, probed, nil
	for _, g := range d.Intent.Ingresses {
		if g.Iface != decide.PathDevice {
			r.enter = append(r.enter, g.Iface)
		}
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// status returns the dead resolvers, and those of them that answer again, but not for long.
func (r *resolvers) status() (dead, back decide.DeadResolvers) {
	r.mu.Lock()
	defer r.mu.Unlock()
	dead, back = decide.DeadResolvers{}, decide.DeadResolvers{}
	for k, st := range r.asked {
		if st.fails {
			of := decide.ResolverOf{Egress: k.egress, Addr: k.addr}
			dead[of], back[of] = true, !st.well.IsZero()
		}
	}
	return dead, back
}

// run asks until ctx ends.
func (r *resolvers) run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-r.wake:
		}
		due, pause := r.due(time.Now())
		var wg sync.WaitGroup
		for _, k := range due {
			wg.Go(func() { r.record(ctx, k, askResolver(ctx, k)) })
		}
		wg.Wait()
		if pause == resolverLook {
			pause = step.Until(time.Now(), pause) // with the probers' looks
		}
		timer.Reset(pause)
	}
}

// due returns the resolvers to be asked now, and how long to wait until it is looked again. An
// egress in use by which clients send is asked often: who is answered by none, waits.
func (r *resolvers) due(now time.Time) (due []resolverKey, pause time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	pause = resolverIdle
	sent, read := uint64(0), false
	for k, st := range r.asked {
		if !r.probed[k.egress] {
			continue
		}
		every := resolverIdle
		if r.inUse[k.egress] {
			if !read {
				sent, read = r.sentByClients(), true
			}
			pause = min(pause, resolverLook)
			if sent != st.sent {
				every = resolverInUse
			}
		}
		if wait := every - now.Sub(st.last); wait > 0 {
			pause = min(pause, wait)
			continue
		}
		st.last, st.sent = now, sent
		due = append(due, k)
	}
	return due, pause
}

// sentByClients returns how many packets have entered from clients.
func (r *resolvers) sentByClients() uint64 {
	sum := uint64(0)
	for name, c := range r.traffic() {
		if slices.Contains(r.enter, name) {
			sum += c.PacketsIn
		}
	}
	return sum
}

// record keeps the result of a question. A resolver that gives every name one address is dead if it
// has done better before: in a closed network that may be what it is for.
func (r *resolvers) record(ctx context.Context, k resolverKey, got reply) {
	if ctx.Err() != nil {
		return
	}
	now := time.Now()
	r.mu.Lock()
	st := r.asked[k]
	if st == nil || !r.probed[k.egress] {
		r.mu.Unlock()
		return
	}
	answered := got == named || got == alike && !st.named
	st.named = st.named || got == named
	before, wasWell := st.fails, !st.well.IsZero()
	switch {
	case !answered:
		if !st.fails {
			st.died = now
		}
		st.fails, st.well = true, time.Time{}
	case st.well.IsZero():
		st.well = now
	}
	if st.fails && answered && now.Sub(st.well) >= resolverHold {
		st.fails = false
	}
	changed := st.fails != before || st.fails && wasWell != answered
	r.mu.Unlock()
	if changed {
		if r.changed != nil {
			r.changed()
		}
		r.trigger.Fire("resolver " + k.addr.String() + " of " + k.egress)
	}
}

// reply is what a resolver does with questions.
type reply int

const (
	none  reply = iota // it is silent, or refuses
	alike              // it gives every name one address
	named              // it looks names up
)

// askResolver asks for a name that every resolver can look up, and where the answer is wrong, for
// one that nobody has.
func askResolver(ctx context.Context, k resolverKey) reply {
	dialer := &net.Dialer{Control: sockopt.Control(sockopt.Mark(k.mark))}
	inner, err := dialer.DialContext(ctx, "udp", netip.AddrPortFrom(k.addr, 53).String())
	if err != nil {
		return none
	}
	conn := &dns.Conn{Conn: inner}
	defer conn.Close()
	m, answered := lookUp(ctx, conn, pathcheck.Query(false))
	if !answered || m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError {
		return none
	}
	wrong := pathcheck.WrongAddress(m)
	if !wrong.IsValid() {
		return named
	}
	if m, answered = lookUp(ctx, conn, pathcheck.Query(true)); answered &&
		pathcheck.WrongAddress(m) == wrong {
		return alike
	}
	return named
}

// lookUp asks until there is an answer, resolverTries times.
func lookUp(ctx context.Context, conn *dns.Conn, question *dns.Msg) (*dns.Msg, bool) {
	for range resolverTries {
		if err := conn.WriteMsg(question); err != nil {
			return nil, false
		}
		wait := time.Now().Add(resolverTimeout)
		_ = conn.SetReadDeadline(wait)
		m, err := conn.ReadMsg() // an answer to the first question counts as well
		if err == nil && m.Id == question.Id {
			return m, true
		}
		select { // a refusal comes at once, and another packet may fare better
		case <-ctx.Done():
			return nil, false
		case <-time.After(time.Until(wait)):
		}
	}
	return nil, false
}
