package bridge

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/probe"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// passResult is what a pass did.
type passResult struct {
	at     time.Time
	took   time.Duration
	cause  string
	plan   policyroute.Plan
	broken []string // what iptables does not do, which stops nothing by itself
	err    error
	// applied says that the kernel holds what was decided, less what it could not be opened for
	// (err).
	applied bool
	passes  uint64
}

// publish makes the result of a pass visible to the readers of the status.
func (d *daemon) publish(s Snapshot, desired Desired, r passResult) {
	st := api.Status{
		Version: d.opts.Version, Time: s.Now.UTC(), Started: d.started.UTC(),
		Config:   d.loaded.cfg.File,
		Override: s.Preferred,
		WAN:      d.wanStatus(s),
		Clients:  clientStatus(s),
	}
	for i, e := range d.loaded.cfg.Egresses {
		st.Egresses = append(st.Egresses, d.egressStatus(e, desired.Intent.Egresses[i], s, desired))
	}
	held := desired
	if !r.applied {
		held = d.held(desired)
	}
	for _, p := range d.loaded.cfg.Policy {
		st.Policies = append(st.Policies, d.policyStatus(p, s.Now, held))
	}
	for _, in := range desired.Intent.Ingresses {
		st.Ingresses = append(st.Ingresses, d.ingressStatus(in, s, held))
	}
	for _, n := range d.loaded.cfg.ZeroTier.Networks {
		st.Networks = append(st.Networks, networkStatus(d.loaded.cfg, n, s))
	}
	st.Conditions = d.conditions(s, desired, r)
	d.ledger.forget()
	st.Reconcile = reconcileStatus(r)
	st.State, st.Summary = overall(st, r.applied)
	d.published.Store(&published{status: st, intent: desired.Intent, held: held.Intent,
		holds: r.applied || d.inForce.loaded != nil, world: s.World, clients: clientNames(s)})
	d.mu.Lock()
	defer d.mu.Unlock()
	for c := range d.watchers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

// held returns, in place of what was decided, what the kernel has held since the last pass that
// succeeded.
func (d *daemon) held(desired Desired) Desired {
	out := desired
	if d.inForce.loaded != nil {
		out.Intent = d.inForce.intent
	}
	out.Choices = maps.Clone(desired.Choices)
	for key, c := range desired.Choices {
		if c.Egress != d.current[key] {
			out.Choices[key] = choice{d.current[key],
				"the kernel could not be changed: what was in force before stays"}
		}
	}
	return out
}

func clientStatus(s Snapshot) []api.Client {
	out := []api.Client{}
	for _, c := range s.Endpoint.Clients {
		out = append(out, api.Client{
			Name: c.Name, Remote: c.Remote.String(), Listener: c.Listener, Addresses: c.Addrs,
			Since:    c.Since.UTC(),
			Counters: api.Counters{BytesIn: c.BytesIn, BytesOut: c.BytesOut},
		})
	}
	return out
}

func clientNames(s Snapshot) map[netip.Addr]string {
	names := map[netip.Addr]string{}
	for name, addrs := range s.Clients {
		for _, a := range addrs {
			names[a] = name
		}
	}
	return names
}

func (d *daemon) wanStatus(s Snapshot) api.WAN {
	r4, r6 := s.World.Default(policyroute.V4), s.World.Default(policyroute.V6)
	w := api.WAN{Interface: r4.Iface, Gateway4: r4.Gateway, Gateway6: r6.Gateway,
		Addresses: []netip.Addr{}}
	if w.Interface == "" {
		w.Interface = r6.Iface
	}
	w.Up = uplinkID(s.World) != ""
	state := "down"
	if w.Up {
		state = "up by " + w.Interface
	}
	link, _ := s.World.Link(w.Interface)
	for _, a := range link.Addrs {
		if !a.Addr().IsLinkLocalUnicast() {
			w.Addresses = append(w.Addresses, a.Addr())
		}
	}
	w.LastChange = d.ledger.note(s.Now, "wan", state, "main's default route")
	return w
}

func (d *daemon) egressStatus(e config.Egress, intent policyroute.Egress, s Snapshot,
	desired Desired) api.Egress {
	p := s.Probes[e.Name]
	out := api.Egress{
		Name: e.Name, Kind: e.Kind(), Interface: intent.Iface, MTU: intent.MTU,
		Usable: desired.Merits[e.Name] > unusable, Chosen: s.Preferred == e.Name,
		RTT: p.RTT.Seconds(), Loss: p.Loss, Addresses: []netip.Prefix{}, DNS: []string{},
	}
	for _, a := range intent.DNS {
		out.DNS = append(out.DNS, a.String())
	}
	link, _ := s.World.Link(intent.Iface)
	out.Counters = counters(link)
	cause := ""
	switch {
	case e.OpenVPN != nil:
		t := s.Tunnels[e.Name]
		out.State, cause = string(t.State), t.Cause
		if t.Server.IsValid() {
			out.Remote = fmt.Sprintf("%s %s", t.Remote.Proto, t.Server)
		}
		out.Addresses = append(out.Addresses, intent.Addrs...)
	case e.Member != nil:
		n := network(d.loaded.cfg, s, e.Member.Network)
		out.State, cause = upOrDown(out.Usable), cmp.Or(viaTrouble(e, s.World), n.Cause)
		out.Remote = "member " + firstValid(e.Member.Via4, e.Member.Via6).String()
	default:
		out.State = upOrDown(out.Usable)
		if gw := firstValid(intent.Gateway4, intent.Gateway6); gw.IsValid() {
			out.Remote = "gateway " + gw.String()
		}
		out.Addresses = append(out.Addresses, link.Addrs...)
	}
	switch {
	case s.Rings[e.Name]:
		out.State, cause = "ring", "what leaves by it comes back to this box"
	case unreachable(e, s):
		out.State, cause = "unreachable", "neither the member nor anything behind it answers"
	case out.Usable && s.Members[e.Name].Grade >= probe.Fresh:
		out.State, cause = "degraded", "the member answers, nothing behind it does"
	case out.Usable && p.Grade == probe.Degraded:
		out.State, cause = "degraded", "probes go unanswered"
	}
	out.LastChange = d.ledger.note(s.Now, "egress "+e.Name, out.State, cause)
	out.Since = out.LastChange.At
	return out
}

func upOrDown(up bool) string {
	if up {
		return string(client.StateUp)
	}
	return "down"
}

func firstValid(addrs ...netip.Addr) netip.Addr {
	for _, a := range addrs {
		if a.IsValid() {
			return a
		}
	}
	return netip.Addr{}
}

func counters(l kernel.Link) api.Counters {
	return api.Counters{BytesIn: l.BytesIn, BytesOut: l.BytesOut, PacketsIn: l.PacketsIn,
		PacketsOut: l.PacketsOut}
}

func (d *daemon) policyStatus(r config.Rule, now time.Time, desired Desired) api.Policy {
	c := desired.Choices[listKey(r.Egress)]
	out := api.Policy{
		Name: r.Name, From: []string{}, To: []string{}, Wanted: append([]string{},
			r.Egress...), Egress: c.Egress, Why: c.Why,
	}
	for _, sel := range r.From {
		out.From = append(out.From, sel.Text)
	}
	for _, p := range r.To {
		out.To = append(out.To, p.String())
	}
	out.Since = d.ledger.note(now, "policy "+r.Name, orNone(c.Egress), c.Why).At
	return out
}

// ingressStatus says where the traffic of an ingress goes now: by every policy that may match it.
func (d *daemon) ingressStatus(in policyroute.Ingress, s Snapshot, desired Desired) api.Ingress {
	link, exists := s.World.Link(in.Iface)
	out := api.Ingress{
		Name: in.Name, Kind: ingressKind(d.loaded.cfg,
			in.Name), Interface: in.Iface, State: "absent",
		Addresses: append([]netip.Prefix{},
			link.Addrs...), Counters: counters(link), Goes: []api.Assignment{},
	}
	switch {
	case exists && link.Up:
		out.State = "up"
	case exists:
		out.State = "down"
	}
	for _, r := range d.loaded.cfg.Policy {
		for _, sel := range r.From {
			if sel.Kind == config.ByIngress && !slices.Contains(expand(sel.Ingress, s), in.Name) {
				continue
			}
			c := desired.Choices[listKey(r.Egress)]
			out.Goes = append(out.Goes, api.Assignment{
				Rule: r.Name, From: sel.Text, To: prefixWords(r.To), Egress: c.Egress, Why: c.Why,
				IPv6:  carries6(desired.Intent, c.Egress),
				Since: d.ledger.note(s.Now, "policy "+r.Name, orNone(c.Egress), c.Why).At,
			})
		}
	}
	out.LastChange = d.ledger.note(s.Now, "ingress "+in.Iface, out.State, "interface "+in.Iface)
	return out
}

func reconcileStatus(r passResult) api.Reconcile {
	out := api.Reconcile{At: r.at.UTC(), Duration: r.took.Seconds(), Cause: r.cause,
		Ops: []string{}, Passes: r.passes}
	for _, op := range r.plan.Ops {
		out.Ops = append(out.Ops, op.String())
	}
	if r.err != nil {
		out.Error = r.err.Error()
	}
	return out
}

func networkStatus(cfg *config.Config, n config.Network, s Snapshot) api.Network {
	st := network(cfg, s, n.Name)
	out := api.Network{
		ID: n.ID, Name: n.Name, Title: st.Name, Status: string(
			st.State), Interface: st.Iface, MTU: st.MTU,
		Addresses: append([]netip.Prefix{}, st.Addrs...),
	}
	if s.ZeroTier.NodeAddress != 0 {
		out.Member = s.ZeroTier.NodeAddress.String()
	}
	return out
}
