package status

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/health"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/probe"
	"ztbridge/bridge/reclaim"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// Input is everything that a status is made of.
type Input struct {
	Version  string
	Started  time.Time
	Config   *config.Config
	Warnings []config.Warning // of reading the configuration
	Snapshot decide.Snapshot
	Decided  decide.Decision // by the last pass
	// what the kernel holds: the decision, or an earlier one while passes fail
	Applied decide.Decision
	Pass    Pass
	Refused error            // why the last reload was refused; nil if it was not
	Page    error            // why the page cannot be served; nil if it can, or is off
	Notice  Notice           // of the programs that prepared the box
	Updates []health.Problem // of the image's updater
	Found   []health.Problem // by the daemon itself, beside the snapshot
	Idle    *reclaim.Usage   // nil where it does not matter
	// addrs are the last known addresses of links where devices enter.
	addrs linkAddrs
}

// Reporter makes statuses, and remembers since when each state has lasted. It belongs to one
// goroutine.
type Reporter struct {
	history history
	gaps    gaps
	addrs   linkAddrs
	changed Pass // the last pass that changed the kernel, or failed
}

// NewReporter returns a reporter without a history.
func NewReporter() *Reporter { return &Reporter{history: history{}, gaps: gaps{}} }

// Report returns the status of the daemon.
func (r *Reporter) Report(in Input) api.Status {
	s := in.Snapshot
	in.Pass = r.withLastChange(in.Pass)
	st := api.Status{
		Version: in.Version, Time: s.Now.UTC(), Started: byClock(s.Now, in.Started).UTC(),
		Config:   in.Config.File,
		Override: s.Preferred,
		WAN:      r.wan(s),
		Clients:  clientStatus(s),
	}
	for i, e := range in.Config.Egresses {
		st.Egresses = append(st.Egresses, r.egress(in, e, in.Decided.Intent.Egresses[i]))
	}
	for _, p := range in.Config.Policy {
		st.Policies = append(st.Policies, r.policy(p, s.Now, in.Applied))
	}
	for _, g := range in.Decided.Intent.Ingresses {
		if g.Iface == decide.PathDevice {
			continue // nobody's but the box's own
		}
		st.Ingresses = append(st.Ingresses, r.ingress(in, g))
	}
	for _, n := range in.Config.ZeroTier.Networks {
		st.Networks = append(st.Networks, networkStatus(in.Config, n, s))
	}
	st.Devices, st.Traffic = devices(in), []api.DeviceTraffic{}
	st.Conditions = r.conditions(in)
	r.history.expire()
	st.Reconcile = reconcileStatus(in.Pass)
	st.State, st.Summary = overall(st, in.Pass.Applied)
	return st
}

// Refresh returns a status with present counters: bytes, round trips, sessions. It leaves st
// unchanged.
func Refresh(st api.Status, now decide.Snapshot, counters map[string]api.Counters) api.Status {
	st.Time, st.Clients = now.Now.UTC(), clientStatus(now)
	st.Ingresses = slices.Clone(st.Ingresses)
	for i := range st.Ingresses {
		in := &st.Ingresses[i]
		if c, ok := counters[in.Interface]; ok {
			in.Counters = c
		}
	}
	st.Egresses = slices.Clone(st.Egresses)
	for i := range st.Egresses {
		e := &st.Egresses[i]
		if c, ok := counters[e.Interface]; ok {
			e.Counters = c
		}
		if p, ok := now.Probes[e.Name]; ok {
			e.RTT, e.Loss, e.Probes = p.RTT.Seconds(), p.Loss, probeStates(p)
		}
	}
	return st
}

// probeStates returns the grade of each IP version that is probed.
func probeStates(p probe.Status) []api.ProbeState {
	var out []api.ProbeState
	for version, name := range []string{probe.V4: "ipv4", probe.V6: "ipv6"} {
		if p.Asked[version] {
			grade := p.Of[version]
			out = append(out, api.ProbeState{Version: name, State: grade.String(),
				Up: grade >= probe.Fresh})
		}
	}
	return out
}

func clientStatus(s decide.Snapshot) []api.Client {
	out := []api.Client{}
	for _, c := range s.Endpoint.Clients {
		out = append(out, api.Client{
			Name: c.Name, Remote: c.Remote.String(), Listener: c.Listener, Addresses: c.Addrs,
			Since:    byClock(s.Now, c.Since).UTC(),
			Counters: api.Counters{BytesIn: c.BytesIn, BytesOut: c.BytesOut},
		})
	}
	return out
}

func (r *Reporter) wan(s decide.Snapshot) api.WAN {
	r4, r6 := s.Host.Default(policyroute.V4), s.Host.Default(policyroute.V6)
	w := api.WAN{Interface: r4.Iface, Gateway4: r4.Gateway, Gateway6: r6.Gateway,
		Addresses: []netip.Addr{}}
	w.Interface = cmp.Or(w.Interface, r6.Iface)
	w.Up = decide.UplinkID(s.Host) != ""
	state := "down"
	if w.Up {
		state = "up by " + w.Interface
	}
	link, _ := s.Host.Link(w.Interface)
	for _, a := range link.Addrs {
		if !a.Addr().IsLinkLocalUnicast() {
			w.Addresses = append(w.Addresses, a.Addr())
		}
	}
	w.LastChange = r.history.Record(s.Now, "wan", state, "main's default route")
	return w
}

func (r *Reporter) egress(in Input, e config.Egress, intent policyroute.Egress) api.Egress {
	s, desired := in.Snapshot, in.Decided
	p := s.Probes[e.Name]
	out := api.Egress{
		Name: e.Name, Kind: e.Kind(), Interface: intent.Iface, MTU: intent.MTU,
		Usable: desired.Health[e.Name] > decide.Unusable, Chosen: s.Preferred == e.Name,
		RTT: p.RTT.Seconds(), Loss: p.Loss, Probes: probeStates(p), Addresses: []netip.Prefix{},
		DNS: []string{},
	}
	for _, a := range intent.DNS {
		out.DNS = append(out.DNS, a.String())
	}
	for _, x := range s.Exits[e.Name] {
		out.ExitAddresses = append(out.ExitAddresses, api.ExitAddress{Address: x.Addr,
			Country: x.Country, Service: x.Service, At: byClock(s.Now, x.At).UTC()})
	}
	link, _ := s.Host.Link(intent.Iface)
	out.Counters = counters(link)
	cause := ""
	switch {
	case e.OpenVPN != nil:
		t := s.Tunnels[e.Name]
		out.State, cause = string(t.State), t.Cause
		out.Remote = t.Place()
		out.Server, out.Servers = t.Remote.Member, t.Servers
		out.Addresses = append(out.Addresses, intent.Addrs...)
	case e.Peer != nil:
		n := decide.Network(in.Config, s, e.Peer.Network)
		out.State, cause = upOrDown(out.Usable), cmp.Or(decide.CheckNextHop(e, s.Host), n.Cause)
		out.Remote = "peer " + cmp.Or(e.Peer.Via4, e.Peer.Via6).String()
	default:
		out.State = upOrDown(out.Usable)
		if gw := cmp.Or(intent.Gateway4, intent.Gateway6); gw.IsValid() {
			out.Remote = "gateway " + gw.String()
		}
		out.Addresses = append(out.Addresses, link.Addrs...)
	}
	switch {
	case s.Loops[e.Name]:
		out.State, cause = "ring", "its traffic comes back to this box"
	case decide.Unreachable(e, s):
		out.State, cause = "unreachable", "neither the peer nor anything beyond it answers"
	case out.Usable && s.Peers[e.Name].Grade >= probe.Fresh:
		out.State, cause = "degraded", "the peer answers, nothing beyond it does"
	case out.Usable && p.Grade == probe.Degraded:
		out.State, cause = "degraded", "no probe is answered"
	}
	out.LastChange = r.history.Record(s.Now, "egress "+e.Name, out.State, cause)
	out.Since = out.LastChange.At
	return out
}

func upOrDown(up bool) string {
	if up {
		return string(client.StateUp)
	}
	return "down"
}

func counters(l kernel.Link) api.Counters {
	return api.Counters{BytesIn: l.BytesIn, BytesOut: l.BytesOut, PacketsIn: l.PacketsIn,
		PacketsOut: l.PacketsOut}
}

func (r *Reporter) policy(rule config.Rule, now time.Time, desired decide.Decision) api.Policy {
	c := desired.Choices[decide.NewEgressList(rule.Egress)]
	out := api.Policy{
		Name: rule.Name, From: []string{}, To: []string{},
		Wanted: append([]string{}, rule.Egress...),
		Egress: c.Egress, Egress6: c.Egress6, Why: c.Why, At: rule.Times(),
	}
	if !desired.InForce(rule) {
		out.Off, out.Egress, out.Egress6, out.Why = true, "", "", "it is not its time"
	}
	for _, sel := range rule.From {
		out.From = append(out.From, sel.Text)
	}
	for _, p := range rule.To {
		out.To = append(out.To, p.String())
	}
	// A rule that blocks on purpose has no gap.
	out.Gap = r.gaps.count(now, rule.Name, !out.Off && len(out.Wanted) > 0 &&
		out.Egress == "" && out.Egress6 == "").Seconds()
	out.Since = r.history.Record(now, "policy "+rule.Name, decide.OrNone(out.Egress), out.Why).At
	return out
}

// ingress returns the state of an ingress, with the egress of every policy that may match its
// traffic.
func (r *Reporter) ingress(of Input, in policyroute.Ingress) api.Ingress {
	s, desired := of.Snapshot, of.Applied
	link, exists := s.Host.Link(in.Iface)
	out := api.Ingress{
		Name: in.Name, Kind: ingressKind(of.Config, in.Name), Interface: in.Iface, State: "absent",
		Addresses: append([]netip.Prefix{},
			link.Addrs...), Counters: counters(link), Goes: []api.Assignment{},
	}
	switch {
	case exists && link.Up:
		out.State = "up"
	case exists:
		out.State = "down"
	}
	for _, rule := range of.Config.Policy {
		if !desired.InForce(rule) {
			continue
		}
		for _, sel := range rule.From {
			if sel.Kind == config.ByIngress &&
				!slices.Contains(decide.Expand(sel.Ingress, s), in.Name) {
				continue
			}
			c := desired.Choices[decide.NewEgressList(rule.Egress)]
			out.Goes = append(out.Goes, api.Assignment{
				Rule: rule.Name, From: sel.Text, To: prefixWords(rule.To), Egress: c.Egress,
				Why:  c.Why,
				IPv6: decide.Carries6(desired.Intent, c.Of(policyroute.V6)),
				Since: r.history.Record(s.Now, "policy "+rule.Name, decide.OrNone(c.Egress),
					c.Why).At,
			})
		}
	}
	out.LastChange = r.history.Record(s.Now, "ingress "+in.Iface, out.State, "interface "+in.Iface)
	return out
}

func networkStatus(cfg *config.Config, n config.Network, s decide.Snapshot) api.Network {
	st := decide.Network(cfg, s, n.Name)
	out := api.Network{
		ID: n.ID, Name: n.Name, Title: st.Name,
		Status: string(st.State), Interface: st.Iface, MTU: st.MTU,
		Addresses: append([]netip.Prefix{}, st.Addrs...),
	}
	if s.ZeroTier.NodeAddress != 0 {
		out.Member = s.ZeroTier.NodeAddress.String()
	}
	return out
}
