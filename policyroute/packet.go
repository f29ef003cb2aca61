package policyroute

import (
	"net/netip"
	"slices"
	"strings"
)

// packet is a representative packet at the moment it enters the box.
type packet struct {
	iif      string
	src, dst netip.Addr
	proto    string
	dport    uint16
	reply    bool // in the direction opposite to the connection's first, and established
	opened   bool // established
	// untracked reports whether no connection is kept for it (NOTRACK), so that nothing of it is
	// ever rewritten.
	untracked bool
	steered   bool // of a connection whose destination we rewrote
}

func (p packet) family() Family { return FamilyOf(p.dst) }

// world is what surrounds our state: a main table that somebody else wrote.
type world struct {
	dev      string // every packet that reaches main leaves here: default, 0/1 and 128/1 alike
	forwards bool   // the host forwards whether we ask for it or not
}

// machine forwards packets as a kernel with this state would.
type machine struct {
	rules  map[Family][]Rule
	routes map[Family]map[int][]Route
	chains map[string]*NftChain
	maps   map[string]*VerdictMap
	base   map[string]*NftChain // by type and hook
	sysctl map[string]string
}

func newMachine(s State) *machine {
	m := &machine{rules: map[Family][]Rule{}, routes: map[Family]map[int][]Route{V4: {}, V6: {}},
		chains: map[string]*NftChain{}, maps: map[string]*VerdictMap{},
		base: map[string]*NftChain{}, sysctl: map[string]string{}}
	for _, r := range s.Rules {
		m.rules[r.Family] = append(m.rules[r.Family], r)
	}
	for _, f := range Families {
		slices.SortStableFunc(m.rules[f], func(a, b Rule) int { return a.Priority - b.Priority })
	}
	for _, r := range s.Routes {
		m.routes[r.Family][r.Table] = append(m.routes[r.Family][r.Table], r)
	}
	for i := range s.Nft.Chains {
		c := &s.Nft.Chains[i]
		m.chains[c.Name] = c
		if c.Hook != nil {
			m.base[c.Hook.Type+" "+c.Hook.Hook] = c
		}
	}
	for i := range s.Nft.Maps {
		m.maps[s.Nft.Maps[i].Name] = &s.Nft.Maps[i]
	}
	for _, v := range s.Sysctls {
		m.sysctl[v.Key] = v.Value
	}
	return m
}

// forward returns the packet as it is routed, and the device by which it leaves. No device means
// that it does not leave.
func (m *machine) forward(p packet, w world) (packet, string) {
	// Only the first packet of a connection meets a nat chain.
	if c := m.base["nat prerouting"]; c != nil && !p.opened && !p.untracked {
		switch v := m.run(c, p, ""); v.Kind {
		case "redirect":
			return p, ""
		case "dnat":
			p.dst, p.steered = v.Addr, true
		}
	}
	dev := m.route(p, w)
	if dev == "" || !m.forwards(p, w) {
		return p, ""
	}
	if c := m.base["filter forward"]; c != nil && m.run(c, p, dev).Kind == "drop" {
		return p, ""
	}
	return p, dev
}

func (m *machine) forwards(p packet, w world) bool {
	if w.forwards {
		return true
	}
	if p.family() == V4 {
		return m.sysctl["net/ipv4/conf/"+p.iif+"/forwarding"] == "1"
	}
	return m.sysctl["net/ipv6/conf/all/forwarding"] == "1" ||
		m.sysctl["net/ipv6/conf/"+p.iif+"/force_forwarding"] == "1"
}

// route returns the device that the rules lead to, or none.
func (m *machine) route(p packet, w world) string {
	r := m.decide(p, func(*Rule) {})
	switch {
	case r == nil:
		return w.dev
	case r.Action == Unreachable:
		return ""
	}
	return m.lookup(r.Table, p).Dev // empty for an unreachable route, which ends the search
}

// decide returns the first rule that refuses or finds a route, or nil when main decides. It reports
// every goto on the way. A goto without a target is passed over, as the kernel does.
func (m *machine) decide(p packet, via func(*Rule)) *Rule {
	rules := m.rules[p.family()]
	for i := 0; i < len(rules); i++ {
		r := &rules[i]
		if !r.matches(p) {
			continue
		}
		switch r.Action {
		case Unreachable:
			return r
		case Goto:
			at, found := slices.BinarySearchFunc(rules, r.Target,
				func(r Rule, t int) int { return r.Priority - t })
			if found {
				via(r)
				i = at - 1
			}
		case Lookup:
			if m.lookup(r.Table, p) != nil {
				return r
			}
		}
	}
	return nil
}

func (r *Rule) matches(p packet) bool {
	return r.Mark == 0 && r.SrcPort == 0 && (r.IIF == "" || r.IIF == p.iif) &&
		(!r.From.IsValid() || r.From.Contains(p.src)) &&
		(!r.To.IsValid() || r.To.Contains(p.dst)) &&
		(r.Proto == "" || r.Proto == p.proto) && (r.DstPort == 0 || r.DstPort == p.dport)
}

func (m *machine) lookup(table int, p packet) *Route {
	var best *Route
	for i, r := range m.routes[p.family()][table] {
		if r.Dst.Contains(p.dst) && (best == nil || r.Dst.Bits() > best.Dst.Bits() ||
			r.Dst.Bits() == best.Dst.Bits() && r.Metric < best.Metric) {
			best = &m.routes[p.family()][table][i]
		}
	}
	return best
}

// run evaluates a chain of the table. The end of a base chain accepts.
func (m *machine) run(c *NftChain, p packet, oif string) NftVerdict {
	for i := range c.Rules {
		r := &c.Rules[i]
		if !r.admits(p, oif) || r.SynMSS != 0 || r.SetLabel != 0 {
			continue
		}
		if r.Syn {
			// The packet may open a connection or not. A drop of packets that open one does not
			// stop the others.
			v := r.Verdict
			if v.Chain != "" {
				v = m.run(m.chains[v.Chain], p, oif)
			}
			if v.Kind != "" && v.Kind != "drop" {
				return v
			}
			continue
		}
		v := r.Verdict
		switch {
		case r.VMap != "":
			v = NftVerdict{Kind: "goto", Chain: m.maps[r.VMap].find(p.src)}
		case r.DstVMap != "":
			v = NftVerdict{Kind: "goto", Chain: m.maps[r.DstVMap].find(p.dst)}
		}
		switch v.Kind {
		case "goto":
			if v.Chain != "" {
				return m.run(m.chains[v.Chain], p, oif)
			}
		case "jump":
			if v := m.run(m.chains[v.Chain], p, oif); v.Kind != "" {
				return v
			}
		case "return":
			return NftVerdict{}
		default:
			return v
		}
	}
	return NftVerdict{}
}

func (m *VerdictMap) find(a netip.Addr) string {
	i, found := slices.BinarySearchFunc(m.Elements, a, func(e VerdictElement, a netip.Addr) int {
		switch {
		case e.Last.Less(a):
			return -1
		case a.Less(e.First):
			return 1
		}
		return 0
	})
	if !found {
		return ""
	}
	return m.Elements[i].Chain
}

func (r *NftRule) admits(p packet, oif string) bool {
	family := r.Family == 0 || r.Family == p.family()
	iface := namesMatch(r.IIF, p.iif) && namesMatch(r.OIF, oif)
	addrs := (!r.Src.IsValid() || r.Src.Contains(p.src)) &&
		(!r.Dst.IsValid() || r.Dst.Contains(p.dst))
	proto := (r.Proto == "" || r.Proto == p.proto) &&
		(len(r.DstPorts) == 0 || slices.Contains(r.DstPorts, p.dport)) &&
		len(r.SrcPorts) == 0
	state := len(r.CTState) == 0 || slices.Contains(r.CTState, p.state())
	// Whom a frame came from is not modelled: as if always from who may send it.
	return r.NotSrcMAC == "" && family && iface && addrs && proto && state &&
		(!r.CTReply || p.reply) &&
		(!r.CTOriginal || !p.reply && !p.untracked) && r.CTLabel == 0 &&
		!r.NoReturn && !r.CTFirst &&
		(r.CTStatus == "" || p.steered) && (!r.Syn || p.proto == "tcp") && !r.LocalDst
}

func (p packet) state() string {
	switch {
	case p.untracked:
		return "untracked"
	case p.opened:
		return "established"
	}
	return "new"
}

func namesMatch(pattern, name string) bool {
	if prefix, ok := strings.CutSuffix(pattern, "*"); ok {
		return strings.HasPrefix(name, prefix)
	}
	return pattern == "" || pattern == name
}
