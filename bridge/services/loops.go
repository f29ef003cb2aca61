package services

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"time"

	"ztbridge/bridge/config"
	"ztbridge/bridge/echowatch"
	"ztbridge/bridge/prefixcheck"
	"ztbridge/bridge/probe"
)

// loopMemory is how long an egress counts as part of a routing loop after a probe of this box
// returned by it. Unanswered probes are sent twice a second.
const loopMemory = 5 * time.Second

// routeLoops records by which egresses this box's own probes came back to it. These lead, through
// other boxes, to this one, as would every packet until its hop limit. Safe for concurrent use.
//
//	box A ─▶ box B ─▶ box C
//	  ▲──────────────────┘
type routeLoops struct {
	mu     sync.Mutex
	egress map[probe.Nonce]string
	seen   map[string]time.Time // when a probe came back last, by name of egress
}

func newRouteLoops() *routeLoops {
	return &routeLoops{egress: map[probe.Nonce]string{}, seen: map[string]time.Time{}}
}

// expect sets the nonces of the echoes that are sent, by name of egress. It forgets egresses that
// are not named.
func (r *routeLoops) expect(nonces map[string]probe.Nonce) {
	r.mu.Lock()
	defer r.mu.Unlock()
	clear(r.egress)
	for egress, n := range nonces {
		r.egress[n] = egress
	}
	maps.DeleteFunc(r.seen, func(egress string, _ time.Time) bool {
		_, still := nonces[egress]
		return !still
	})
}

// saw records an echo that came in by an ingress. It reports whether the echo reveals a new loop.
func (r *routeLoops) saw(e echowatch.Echo, now time.Time) (egress string, news bool) {
	if e.Reply || len(e.Data) < len(probe.Nonce{}) {
		return "", false
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	egress, ours := r.egress[probe.Nonce(e.Data[:len(probe.Nonce{})])]
	if !ours {
		return "", false
	}
	_, known := r.seen[egress]
	r.seen[egress] = now
	return egress, !known
}

// known returns the egresses that are part of a loop. A known loop is forgotten only when probes no
// longer come back and are answered: while every box in it refuses, none sees the others' packets.
func (r *routeLoops) known(now time.Time, probes map[string]probe.Status) map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := map[string]bool{}
	for egress, last := range r.seen {
		if now.Sub(last) >= loopMemory && probes[egress].Grade >= probe.Fresh {
			delete(r.seen, egress)
			continue
		}
		out[egress] = true
	}
	return out
}

// expiry returns when the next loop may be forgotten unless its probes return again. It is zero if
// there is none, or if only answers can end one.
func (r *routeLoops) expiry() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	var first time.Time
	for _, last := range r.seen {
		if at := last.Add(loopMemory); at.After(time.Now()) &&
			(first.IsZero() || at.Before(first)) {
			first = at
		}
	}
	return first
}

// loopsPossible reports whether a routing loop can lead through this box. Another box must be able
// to send it packets, as a member or as a client of the endpoint.
func loopsPossible(cfg *config.Config) bool {
	for _, e := range cfg.Egresses {
		if e.Peer != nil {
			return true
		}
	}
	return cfg.Endpoint != nil
}

// loopTask looks for this box's own probes on an ingress.
func (d *Set) loopTask(iface string) task {
	var fault Repeated
	saw := func(e echowatch.Echo) {
		if egress, news := d.loops.saw(e, time.Now()); news {
			d.env.Logger.Warn("a probe came back", "egress", egress, "iface", iface)
			d.trigger.Fire("loop through " + egress)
		}
	}
	return task{
		key: "loops " + iface,
		run: func(ctx context.Context) error {
			for ctx.Err() == nil {
				d.watchEchoes(ctx, iface, &fault, saw)
				select {
				case <-ctx.Done():
				case <-time.After(deviceCheck):
				}
			}
			return nil
		},
	}
}

// watchEchoes calls saw until ctx ends or the interface is not usable.
func (d *Set) watchEchoes(ctx context.Context, iface string, fault *Repeated,
	saw func(echowatch.Echo)) {
	err := echowatch.Run(ctx, iface, saw)
	if errors.Is(err, echowatch.ErrInterface) {
		err = nil
	}
	fault.Warn(d.env.Logger.With("iface", iface), "watching echoes failed", err)
}

// checkAddr returns an address that probably no member has: the last but a few of a prefix.
func checkAddr(p netip.Prefix) netip.Addr {
	a := p.Masked().Addr().As16()
	for bit := p.Bits(); bit < len(a)*8; bit++ {
		a[bit/8] |= 0x80 >> (bit % 8)
	}
	a[len(a)-1] -= 5
	return netip.AddrFrom16(a)
}

// prefixTask finds out whether members' public addresses on the WAN lead back to this box.
func (d *Set) prefixTask(was, next *services, e config.Egress, mark uint32,
	targets []netip.Addr) task {
	id := "prefix " + e.Name
	key := fmt.Sprintf("%s %s %x %v", id, e.WAN.IPv6.Prefix, mark, targets)
	if next.keeps(was, id, key) {
		next.prefixes[e.Name] = was.prefixes[e.Name]
	} else {
		next.prefixes[e.Name] = prefixcheck.New(prefixcheck.Config{
			Source: checkAddr(e.WAN.IPv6.Prefix), Mark: mark, Targets: targets,
			Notify: func() { d.trigger.Fire(id) }, Logger: d.env.Logger.With("egress", e.Name),
		})
	}
	checker, fault := next.prefixes[e.Name], &Repeated{}
	return task{
		key: key,
		run: func(ctx context.Context) error {
			d.follow(ctx, e.Name, func(ctx context.Context, iface string) {
				var wg sync.WaitGroup
				defer wg.Wait()
				ctx, cancel := context.WithCancel(ctx)
				defer cancel()
				wg.Go(func() { _ = checker.Run(ctx) }) // ends with ctx alone
				d.watchEchoes(ctx, iface, fault, func(e echowatch.Echo) {
					if e.Reply {
						checker.SawReply(e.Dst, e.Data)
					}
				})
			})
			return nil
		},
	}
}

// peerProbe makes the prober that asks a ZeroTier peer itself when nothing behind it answers.
func (d *Set) peerProbe(was, next *services, e config.Egress, mark uint32, cfg config.Probe) task {
	id := "member " + e.Name
	var targets []netip.Addr
	for _, via := range []netip.Addr{e.Peer.Via4, e.Peer.Via6} {
		if via.IsValid() {
			targets = append(targets, via)
		}
	}
	key := fmt.Sprintf("%s %x %v %v", id, mark, targets, cfg.Interval)
	if next.keeps(was, id, key) {
		next.peers[e.Name] = was.peers[e.Name]
	} else {
		next.peers[e.Name] = probe.New(probe.Config{
			Egress: e.Name + " itself", Mark: mark, Nonce: probe.NewNonce(), Targets: targets,
			Interval: cfg.Interval, HoldDown: cfg.HoldDown,
			Traffic: d.trafficBy(e), Device: d.deviceOf(e),
			Notify: func() { d.trigger.Fire(id) }, Logger: d.env.Logger,
		})
	}
	return task{key: key, run: next.peers[e.Name].Run}
}
