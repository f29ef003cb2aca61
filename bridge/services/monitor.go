package services

import (
	"maps"
	"slices"
	"time"

	"ztbridge/bridge/clock"
	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/pathcheck"
	"ztbridge/bridge/probe"
	"ztbridge/policyroute"
)

const (
	// reconnectDelay is the first pause between two reconnects of a tunnel for unanswered probes.
	// It doubles up to maxReconnectDelay, and starts again when the tunnel was stable again.
	reconnectDelay    = time.Second
	maxReconnectDelay = time.Minute
	// silenceBeforeAsking is how long no egress must have answered before the host's own line is
	// tried. While all is well, and at a start, there is no reason to.
	silenceBeforeAsking = 5 * time.Second
)

// Monitor acts on the results of passes. It probes egresses while they are connected, reconnects
// tunnels that do not answer, and hurries tunnels that traffic now depends on. It belongs to the
// loop.
type Monitor struct {
	tunnels map[string]*tunnelState
	uplink  string
	// lists that a good egress carries, by IP version (probe.V4, probe.V6)
	served map[decide.EgressList][2]bool
	// egresses by which a peer, or anything behind it, ever answered
	heard  map[string]bool
	looked time.Time // when Reconcile was called last
	// since when no egress answers, though the host has a way out; zero while one does
	silent time.Time
}

// tunnelState is what the monitor remembers of a tunnel.
type tunnelState struct {
	generation uint64
	answered   bool // a probe was answered in this generation
	delay      time.Duration
	last       time.Time // of the last reconnect
	index      int       // of its device
}

// NewMonitor returns a monitor that remembers nothing.
func NewMonitor() *Monitor {
	return &Monitor{tunnels: map[string]*tunnelState{}, served: map[decide.EgressList][2]bool{},
		heard: map[string]bool{}}
}

// Reconcile acts on a pass. It returns when it needs the next one; zero if it does not.
func (n *Monitor) Reconcile(cfg *config.Config, s decide.Snapshot, desired decide.Decision,
	d *Set) (next time.Time) {
	now := d.current.Load()
	uplink := decide.UplinkID(s.Host)
	moved := n.uplink != "" && uplink != "" && uplink != n.uplink
	if uplink != "" {
		n.uplink = uplink
	}
	n.watchClock(s, now.tunnels)
	n.hurryStandby(desired, now.tunnels)
	n.forget(cfg, desired)
	next = n.watchUplink(cfg, s, now, uplink != "")
	for i, e := range cfg.Egresses {
		prober, of := now.probers[e.Name], desired.Intent.Egresses[i]
		if e.OpenVPN == nil {
			up := decide.Connected(cfg, e, s)
			// also while it is not used: otherwise its recovery would go unnoticed
			prober.SetActive(up && !of.NoIPv4, up && of.IPv6)
			if m := now.peers[e.Name]; m != nil {
				m.SetActive(up && s.Probes[e.Name].Grade == probe.Degraded)
			}
			continue
		}
		p := n.tunnels[e.Name]
		if p == nil {
			p = &tunnelState{delay: reconnectDelay}
			n.tunnels[e.Name] = p
		}
		status := s.Tunnels[e.Name]
		if status.Generation != p.generation {
			// A new session starts without a grade.
			p.generation, p.answered = status.Generation, false
			prober.SetActive(false, false)
		}
		up := status.State == client.StateUp
		prober.SetActive(up && !of.NoIPv4, up && of.IPv6)
		if moved && status.State != client.StateStopped {
			now.tunnels[e.Name].Reconnect("the host's own way to the Internet changed")
			continue
		}
		p.watchDevice(e.Name, s, now.tunnels[e.Name])
		if at := p.watchProbes(e.Name, s, now.tunnels[e.Name], uplink != ""); !at.IsZero() &&
			(next.IsZero() || at.Before(next)) {
			next = at
		}
	}
	return next
}

// watchUplink has the host's own line probed while no egress answers: what else is wrong may follow
// from its silence. It returns when it wants to look again, or the zero time.
func (n *Monitor) watchUplink(cfg *config.Config, s decide.Snapshot, own *services,
	uplink bool) (next time.Time) {
	answers := slices.ContainsFunc(cfg.Egresses, func(e config.Egress) bool {
		return s.Probes[e.Name].Grade >= probe.Fresh
	})
	if answers || !uplink {
		n.silent = time.Time{}
		own.uplink.SetActive(false, false)
		own.portal.SetActive(uplink && connectionsDropped(s))
		return time.Time{}
	}
	if n.silent.IsZero() {
		n.silent = s.Now
	}
	due := n.silent.Add(silenceBeforeAsking)
	if due.After(s.Now) {
		return due
	}
	own.portal.SetActive(true)
	own.uplink.SetActive(s.Host.Default(policyroute.V4).Iface != "",
		s.Host.Default(policyroute.V6).Iface != "")
	return time.Time{}
}

// connectionsDropped reports whether a client of the box's own is answered by echo alone: some
// networks let echoes pass before a person has signed in.
func connectionsDropped(s decide.Snapshot) bool {
	for _, r := range s.Paths.Results {
		if tcp := r.Outcomes[pathcheck.TCP]; r.Outcomes[pathcheck.Echo].Answered && tcp.Asked &&
			!tcp.Answered {
			return true
		}
	}
	return false
}

// watchClock ends the wait of tunnels that were held up by a certificate when the clock was set.
func (n *Monitor) watchClock(s decide.Snapshot, tunnels map[string]*client.Tunnel) {
	last := n.looked
	n.looked = s.Now
	if last.IsZero() || !clock.WasSet(s.Now.Round(0).Sub(last.Round(0)), s.Now.Sub(last)) {
		return
	}
	for name, t := range tunnels {
		if s.Tunnels[name].State == client.StateCertExpired {
			t.Retry()
		}
	}
}

// forget forgets egresses, and lists of them, that the configuration no longer has.
func (n *Monitor) forget(cfg *config.Config, desired decide.Decision) {
	gone := func(name string) bool {
		return !slices.ContainsFunc(cfg.Egresses,
			func(e config.Egress) bool { return e.Name == name })
	}
	maps.DeleteFunc(n.tunnels, func(name string, _ *tunnelState) bool { return gone(name) })
	maps.DeleteFunc(n.heard, func(name string, _ bool) bool { return gone(name) })
	maps.DeleteFunc(n.served, func(list decide.EgressList, _ [2]bool) bool {
		_, still := desired.Choices[list]
		return !still
	})
}

// Answered returns the egresses by which a peer, or anything behind it, ever answered.
func (n *Monitor) Answered(s decide.Snapshot) map[string]bool {
	for name, m := range s.Peers {
		if m.Grade >= probe.Fresh || s.Probes[name].Grade >= probe.Fresh {
			n.heard[name] = true
		}
	}
	return maps.Clone(n.heard)
}

// hurryStandby hurries the tunnels of a list that has just lost its last good egress of an IP
// version. Their next attempt may be far away.
func (n *Monitor) hurryStandby(desired decide.Decision, tunnels map[string]*client.Tunnel) {
	for _, list := range n.losers(desired) {
		for _, name := range list.Names() {
			if t := tunnels[name]; t != nil {
				t.Hurry()
			}
		}
	}
}

// losers returns the lists that a good egress carried at the last pass, and none does now.
func (n *Monitor) losers(desired decide.Decision) (out []decide.EgressList) {
	for list, c := range desired.Choices {
		was, served := n.served[list], [2]bool{
			probe.V4: desired.Health[c.Egress] >= decide.Up,
			probe.V6: desired.Health6[c.Of(policyroute.V6)] >= decide.Up}
		if was[probe.V4] && !served[probe.V4] || was[probe.V6] && !served[probe.V6] {
			out = append(out, list)
		}
		n.served[list] = served
	}
	return out
}

// watchDevice restarts openvpn after its TUN device was deleted. openvpn would not notice, and
// would use a whole core to log errors (measured: 340,000 lines a second).
func (p *tunnelState) watchDevice(name string, s decide.Snapshot, t *client.Tunnel) {
	link, _ := s.Host.Link(decide.TunnelDevice(name))
	if p.index != 0 && link.Index != p.index && s.Tunnels[name].PID != 0 {
		t.Restart("its network device was deleted")
	}
	p.index = link.Index
}

// watchProbes reconnects a connected tunnel that no longer answers. It leaves alone a tunnel that
// never answered since it connected: some providers drop echoes. While the host itself has no
// uplink, it reconnects none. It returns when to look again, or zero.
func (p *tunnelState) watchProbes(name string, s decide.Snapshot, t *client.Tunnel,
	uplink bool) time.Time {
	switch status := s.Probes[name]; {
	case s.Tunnels[name].State != client.StateUp:
	case status.Grade == probe.Stable:
		p.answered, p.delay = true, reconnectDelay
	case status.Grade == probe.Fresh:
		p.answered = true
	case status.Grade == probe.Degraded && p.answered && uplink:
		if due := p.last.Add(p.delay); due.After(s.Now) {
			return due
		}
		p.last, p.answered = s.Now, false
		p.delay = min(2*p.delay, maxReconnectDelay)
		t.Reconnect("two probes in a row went unanswered")
	}
	return time.Time{}
}
