package decide

import (
	"cmp"
	"net/netip"
	"slices"
	"strings"
	"time"

	"ztbridge/bridge/config"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute"
)

// Device names somebody who may choose an exit. Exactly one of Member, Client and Addr is set.
type Device struct {
	Network string           `json:"network,omitempty"` // id of the network, of Member
	Member  zerotier.Address `json:"member,omitzero"`
	Client  string           `json:"client,omitempty"` // of the endpoint
	// Addr is a machine behind an interface: nothing but its address tells who it is.
	Addr netip.Addr `json:"addr,omitzero"`
}

// String returns the ZeroTier address, the client's name, or the address.
func (d Device) String() string {
	switch {
	case d.Member != 0:
		return d.Member.String()
	case d.Client != "":
		return d.Client
	}
	return d.Addr.String()
}

// Kind returns "member", "client" or "address".
func (d Device) Kind() string {
	switch {
	case d.Member != 0:
		return "member"
	case d.Client != "":
		return "client"
	}
	return "address"
}

// Prefix returns what belongs to the device together with one of its addresses. That is the
// address, or the whole prefix that 6PLANE gave a member.
func (d Device) Prefix(a netip.Addr) netip.Prefix {
	if id, err := zerotier.ParseNetworkID(d.Network); err == nil {
		if p := zerotier.SixPlaneMember(id, d.Member); p.Contains(a) {
			return p
		}
	}
	return netip.PrefixFrom(a, a.BitLen())
}

// DeviceState is what is kept of a device.
type DeviceState struct {
	Device
	Name string `json:"name,omitempty"` // as people call a member; may be empty
	// Addrs are the addresses of a Member, as far as they are known. Only the member may send from
	// them, and no other device has them.
	Addrs []netip.Addr `json:"addrs,omitempty"`
	// Egress is the exit that was chosen for it; empty: it asked who it is, and chose none.
	Egress string    `json:"egress,omitempty"`
	Since  time.Time `json:"since"` // of the choice, or of the question
}

// Has reports whether an address is one of a member's.
func (d DeviceState) Has(a netip.Addr) bool {
	return slices.ContainsFunc(d.Addrs, func(b netip.Addr) bool { return d.Prefix(b).Contains(a) })
}

// Claim is a member that answers for an address of another device.
type Claim struct {
	Device DeviceState
	Addr   netip.Addr
	By     zerotier.Address
}

// Title names the device for people.
func (d DeviceState) Title() string {
	return cmp.Or(d.Name, d.String())
}

// Addresses returns the addresses that the device sends from, as far as they are known.
func (d DeviceState) Addresses(s Snapshot) []netip.Addr {
	switch {
	case d.Member != 0:
		return d.Addrs
	case d.Client != "":
		return s.Clients[d.Client]
	}
	return []netip.Addr{d.Addr}
}

// ingressesOf returns the names of the ingresses by which a device enters.
func ingressesOf(cfg *config.Config, d Device, s Snapshot) []string {
	switch {
	case d.Client != "":
		return Expand([]string{config.EndpointIngress}, s)
	case d.Member != 0:
		for _, n := range cfg.ZeroTier.Networks {
			if n.ID == d.Network {
				return []string{n.Name}
			}
		}
		return nil
	}
	var out []string
	for _, i := range cfg.Interfaces {
		link, _ := s.Host.Link(i.Iface)
		if (ConnectedPrefixes{Prefixes: slices.Concat(i.Prefixes, Subnets(link.Configured()),
			s.Connected[i.Iface].Prefixes)}).covers(netip.PrefixFrom(d.Addr, d.Addr.BitLen())) {
			out = append(out, i.Name)
		}
	}
	return out
}

// ruleSelects reports whether a rule speaks of a device that sends from an address. The zero Addr
// stands for one that is not known yet.
func ruleSelects(r config.Rule, d Device, ingresses []string, a netip.Addr, s Snapshot) bool {
	return slices.ContainsFunc(r.From, func(sel config.Selector) bool {
		switch sel.Kind {
		case config.ByClient:
			return d.Client == sel.Client
		case config.ByPrefix:
			return a.IsValid() && sel.Prefix.Contains(a)
		default:
			return slices.ContainsFunc(Expand(sel.Ingress, s),
				func(name string) bool { return slices.Contains(ingresses, name) })
		}
	})
}

// Offers returns the exits that a device may choose from. They are those of all rules in force that
// match it, in the order of the configuration.
func Offers(cfg *config.Config, s Snapshot, d DeviceState) []string {
	return offers(cfg, s, d, func(r config.Rule) bool { return r.Holds(s.Now) },
		func(config.Rule) bool { return true })
}

// OffersAtAnyTime returns those that it may choose from at any time of the week.
func OffersAtAnyTime(cfg *config.Config, s Snapshot, d DeviceState) []string {
	return offers(cfg, s, d, func(config.Rule) bool { return true },
		func(r config.Rule) bool { return len(r.At) == 0 })
}

// offers is Offers with the rules that count, and those of them that keep a device from later ones.
func offers(cfg *config.Config, s Snapshot, d DeviceState,
	counts, ends func(config.Rule) bool) []string {
	ingresses := ingressesOf(cfg, d.Device, s)
	if len(ingresses) == 0 {
		return nil
	}
	addrs := d.Addresses(s)
	if len(addrs) == 0 {
		addrs = []netip.Addr{{}}
	}
	var out []string
	for _, a := range addrs {
		for _, r := range cfg.Policy {
			if !counts(r) || !ruleSelects(r, d.Device, ingresses, a, s) {
				continue
			}
			for _, name := range r.Choose {
				if !slices.Contains(out, name) {
					out = append(out, name)
				}
			}
			if len(r.To) == 0 && ends(r) {
				break // no later rule is for it
			}
		}
	}
	return out
}

// chosenPolicies returns, for each exit of a rule, what devices that chose it send. They come
// before the rule's own policy, whose destinations they share.
func chosenPolicies(cfg *config.Config, r config.Rule, s Snapshot) []policyroute.Policy {
	var out []policyroute.Policy
	for _, egress := range r.Choose {
		from, keys := map[string][]netip.Prefix{}, []string{} // by ingresses
		for _, d := range s.Devices {
			if d.Egress != egress {
				continue
			}
			ingresses := ingressesOf(cfg, d.Device, s)
			key := strings.Join(ingresses, " ")
			for _, a := range d.Addresses(s) {
				if !ruleSelects(r, d.Device, ingresses, a, s) || key == "" {
					continue
				}
				if from[key] == nil {
					keys = append(keys, key)
				}
				from[key] = append(from[key], d.Prefix(a))
			}
		}
		for _, key := range keys {
			out = append(out, policyroute.Policy{Name: r.Name, Ingress: strings.Fields(key),
				From: from[key], To: r.To, Egress: r.ListOf(egress)})
		}
	}
	return out
}

// listsOf returns the lists of egresses that a rule uses: its own, and those that devices chose.
func listsOf(r config.Rule, s Snapshot) [][]string {
	out := [][]string{r.Egress}
	for _, egress := range r.Choose {
		if slices.ContainsFunc(s.Devices, func(d DeviceState) bool { return d.Egress == egress }) {
			out = append(out, r.ListOf(egress))
		}
	}
	return out
}

// bindings ties the addresses of a network's members to their hardware addresses. An address that
// two devices claim is the first one's.
func bindings(n config.Network, s Snapshot) []policyroute.Binding {
	id, err := zerotier.ParseNetworkID(n.ID)
	if err != nil {
		return nil
	}
	var out []policyroute.Binding
	for _, d := range s.Devices {
		if d.Member == 0 || d.Network != n.ID {
			continue
		}
		for _, a := range d.Addrs {
			p := d.Prefix(a)
			_, own := s.Host.Owner(a)
			if !own && !slices.ContainsFunc(out,
				func(b policyroute.Binding) bool { return b.Prefix.Overlaps(p) }) {
				out = append(out, policyroute.Binding{Prefix: p,
					MAC: zerotier.MAC(id, d.Member).String()})
			}
		}
	}
	return out
}

// deviceExit returns the rule and the egress of a device's Internet traffic now, for an IP version.
// They are empty if it has no address of that version, or is refused.
func deviceExit(cfg *config.Config, s Snapshot, intent policyroute.Intent, d DeviceState,
	f policyroute.Family) (rule, egress string) {
	ingresses := ingressesOf(cfg, d.Device, s)
	for _, a := range d.Addresses(s) {
		if policyroute.FamilyOf(a) != f {
			continue
		}
		for _, p := range intent.Policies {
			entered := len(p.Ingress) == 0 || slices.ContainsFunc(p.Ingress,
				func(name string) bool { return slices.Contains(ingresses, name) })
			if !entered || len(p.To) > 0 || !containsAddr(p.From, a) {
				continue
			}
			if use := p.UseOf(f); f == policyroute.V4 || Carries6(intent, use) {
				return p.Name, use
			}
			return p.Name, ""
		}
	}
	return "", ""
}

// DeviceExits returns the rule and the egress of a device's Internet traffic now. It adds the
// egress of its IPv6 if that differs.
func DeviceExits(cfg *config.Config, s Snapshot, intent policyroute.Intent,
	d DeviceState) (rule, egress, egress6 string) {
	rule, egress = deviceExit(cfg, s, intent, d, policyroute.V4)
	rule6, egress6 := deviceExit(cfg, s, intent, d, policyroute.V6)
	if egress == "" {
		return rule6, egress6, ""
	}
	if egress6 == egress {
		egress6 = ""
	}
	return rule, egress, egress6
}

// Carries6 reports whether the egress of that name carries IPv6.
func Carries6(intent policyroute.Intent, egress string) bool {
	return slices.ContainsFunc(intent.Egresses,
		func(e policyroute.Egress) bool { return e.Name == egress && e.IPv6 })
}
