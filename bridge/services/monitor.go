package services

import (
	"maps"
	"slices"
	"strings"
	"time"
	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/probe"
)

const (
	// patience is the first pause between two reconnects of a tunnel for unanswered probes; it
	// doubles up to maxPatience, and is forgotten when the tunnel was stable again.
	reconnectDelay    = time.Second
	maxReconnectDelay = time.Minute
)

// Monitor looks after the drivers: it has egresses probed while they are connected, tunnels whose
// probes go unanswered reconnected, and tunnels that traffic now depends on hurried. It belongs to
// the loop.
type Monitor struct {
	tunnels map[string]*tunnelState
	uplink  string
	served  map[string]bool // lists that a good egress carries, by listKey
	heard   map[string]bool // egresses by which a member, or anything behind it, ever answered
}

// tunnelState is what is remembered of a tunnel.
type tunnelState struct {
	generation uint64
	answered   bool // a probe was answered in this generation
	delay      time.Duration
	last       time.Time // of the last reconnect
	index      int       // of its device
}

// NewMonitor returns a monitor that remembers nothing.
func NewMonitor() *Monitor {
	return &Monitor{tunnels: map[string]*tunnelState{}, served: map[string]bool{},
		heard: map[string]bool{}}
}

// Reconcile acts on what a pass found out.
func (n *Monitor) Reconcile(cfg *config.Config, s decide.Snapshot, desired decide.Decision,
	d *Set) {
	uplink := decide.UplinkID(s.Host)
	moved := n.uplink != "" && uplink != "" && uplink != n.uplink
	if uplink != "" {
		n.uplink = uplink
	}
	n.hurryStandby(desired, d)
	n.forget(cfg, desired)
	for _, e := range cfg.Egresses {
		prober := d.probers[e.Name]
		if e.OpenVPN == nil {
			up := decide.Connected(cfg, e, s)
			prober.SetActive(up) // also while it is not used: else nobody would see that it is back
			if m := d.members[e.Name]; m != nil {
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
			// A new session must prove itself anew.
			p.generation, p.answered = status.Generation, false
			prober.SetActive(false)
		}
		prober.SetActive(status.State == client.StateUp)
		if moved && status.State != client.StateStopped {
			d.tunnels[e.Name].Reconnect("the host's own way to the Internet changed")
			continue
		}
		p.watchDevice(e.Name, s, d)
		p.watchProbes(e.Name, s, d, uplink != "")
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
	maps.DeleteFunc(n.served, func(key string, _ bool) bool {
		_,
			still := desired.Choices[key]
		return !still
	})
}

// Answered returns the egresses by which a member, or anything behind it, ever answered.
func (n *Monitor) Answered(s decide.Snapshot) map[string]bool {
	for name, m := range s.Members {
		if m.Grade >= probe.Fresh || s.Probes[name].Grade >= probe.Fresh {
			n.heard[name] = true
		}
	}
	return maps.Clone(n.heard)
}

// hurryStandby hurries the tunnels of a list that has just lost the last egress that carried its
// traffic well: one that could not be reached until now may wait long for its next attempt.
func (n *Monitor) hurryStandby(desired decide.Decision, d *Set) {
	for key, c := range desired.Choices {
		served := desired.Health[c.Egress] >= decide.Up
		if n.served[key] && !served {
			for _, name := range strings.Fields(key) {
				if t := d.tunnels[name]; t != nil {
					t.Hurry()
				}
			}
		}
		n.served[key] = served
	}
}

// watchDevice restarts openvpn when its TUN device was deleted under it: it would never notice, and
// would use a whole core to log its bewilderment (measured: 340,000 lines a second).
func (p *tunnelState) watchDevice(name string, s decide.Snapshot, d *Set) {
	link, _ := s.Host.Link(decide.TunnelDevice(name))
	if p.index != 0 && link.Index != p.index && s.Tunnels[name].PID != 0 {
		d.tunnels[name].Restart("its network device was deleted")
	}
	p.index = link.Index
}

// watchProbes reconnects a tunnel that is connected and answers no more. One that never answered
// since it connected is left alone: some providers drop echoes. While the host itself has no way
// out, there is nothing to reconnect to.
func (p *tunnelState) watchProbes(name string, s decide.Snapshot, d *Set, uplink bool) {
	switch status := s.Probes[name]; {
	case s.Tunnels[name].State != client.StateUp:
	case status.Grade == probe.Stable:
		p.answered, p.delay = true, reconnectDelay
	case status.Grade == probe.Fresh:
		p.answered = true
	case status.Grade == probe.Degraded && p.answered && uplink:
		if wait := p.delay - s.Now.Sub(p.last); wait > 0 {
			time.AfterFunc(wait, func() { d.trigger.Fire("patience is over") })
			return
		}
		p.last, p.answered = s.Now, false
		p.delay = min(2*p.delay, maxReconnectDelay)
		d.tunnels[name].Reconnect("two probes in a row went unanswered")
	}
}
