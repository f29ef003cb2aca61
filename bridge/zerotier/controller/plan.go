package controller

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ztbridge/bridge/zerotier"
)

// Item names what a Change is about.
type Item string

// The items of a plan.
const (
	ItemAuthorization Item = "authorization"
	ItemAddress       Item = "address"
	ItemRoute         Item = "route"
	ItemPool          Item = "pool"
	ItemAssignV4      Item = "assign-ipv4"
	ItemV6Modes       Item = "ipv6-modes"
	ItemDNS           Item = "dns"
)

// Change is one difference between a network as it is and as the box needs it.
type Change struct {
	Item   Item       `json:"item"`
	Remove bool       `json:"remove,omitempty"` // taken away instead of added
	Addr   netip.Addr `json:"addr,omitzero"`
	Route  Route      `json:"route,omitzero"`
	Pool   Pool       `json:"pool,omitzero"`
	// V6 and DNS are as they become, WasV6 and WasDNS as they were.
	V6     V6Modes `json:"v6,omitzero"`
	WasV6  V6Modes `json:"wasV6,omitzero"`
	DNS    DNS     `json:"dns,omitzero"`
	WasDNS DNS     `json:"wasDNS,omitzero"`
}

// String returns the change as a line of a plan: "+" or "-", and what.
func (c Change) String() string {
	sign := "+ "
	if c.Remove {
		sign = "- "
	}
	switch c.Item {
	case ItemAuthorization:
		return sign + "let this box into the network"
	case ItemAddress:
		return sign + "address " + c.Addr.String() + " for this box"
	case ItemRoute:
		return sign + "route " + c.Route.String()
	case ItemPool:
		return sign + "addresses for members: " + c.Pool.First.String() + " to " +
			c.Pool.Last.String()
	case ItemAssignV4:
		return sign + "IPv4 addresses for members"
	case ItemV6Modes:
		return sign + "IPv6 addresses for members (" + c.modes() + ")"
	case ItemDNS:
		return sign + "DNS servers for members: " + addrs(c.DNS.Servers)
	}
	return sign + string(c.Item)
}

// modes names the IPv6 modes that the change switches.
func (c Change) modes() string {
	var out []string
	if c.V6.RFC4193 != c.WasV6.RFC4193 {
		out = append(out, "RFC 4193")
	}
	if c.V6.Pools != c.WasV6.Pools {
		out = append(out, "from the pools")
	}
	return strings.Join(out, ", ")
}

func addrs(list []netip.Addr) string {
	var out []string
	for _, a := range list {
		out = append(out, a.String())
	}
	return strings.Join(out, ", ")
}

// same reports whether two changes are about the same thing, in the same direction.
func (c Change) same(o Change) bool {
	return c.Item == o.Item && c.Remove == o.Remove && c.Addr == o.Addr && c.Route.same(o.Route) &&
		c.Pool.same(o.Pool)
}

// Wanted is what setup is to bring about.
type Wanted struct {
	Self zerotier.Address // this box
	// IPv6 sends the members' IPv6 through the box as well.
	IPv6 bool
	// Prefix6 is a public IPv6 prefix of the box's that members get addresses from; the zero
	// Prefix: none.
	Prefix6 netip.Prefix
	// TakeOver replaces a default route by another member.
	TakeOver bool
	// Avoid lists the prefixes that a new network's subnet must not overlap.
	Avoid []netip.Prefix
	// New reports whether setup made the network in this run or an interrupted one.
	New bool
}

// Plan is what is to be changed at a controller, and what it leads to.
type Plan struct {
	Network Network // as it is
	Box     Member  // as it is
	// BoxIsNew reports whether the controller does not know the box yet.
	BoxIsNew bool
	Changes  []Change
	// Delete removes the whole network; Forget removes the box from its members.
	Delete, Forget bool
	// Notes are for the person: what was left alone, and why.
	Notes []string
	// Box4 and Box6 are the box's addresses that the default routes lead to.
	Box4, Box6 netip.Addr
}

// Empty reports whether there is nothing to change.
func (p Plan) Empty() bool { return len(p.Changes) == 0 && !p.Delete && !p.Forget }

// Lines returns the plan as text: a line for each change, then for each route that stays.
func (p Plan) Lines() []string {
	var out []string
	if p.Delete {
		out = append(out, fmt.Sprintf("- network %s %q", p.Network.ID, p.Network.Name))
	} else {
		for _, c := range p.Changes {
			line := c.String()
			if p.Network.ID == 0 && p.Box6.IsValid() { // it follows from the id
				line = strings.ReplaceAll(line, p.Box6.String(), "this box's IPv6 address")
			}
			out = append(out, line)
		}
		for _, r := range p.Network.Routes {
			gone := Change{Item: ItemRoute, Remove: true, Route: r}
			if !slices.ContainsFunc(p.Changes, gone.same) {
				out = append(out, "  route "+r.String()+" stays")
			}
		}
	}
	if p.Forget {
		out = append(out, "- this box as a member")
	}
	return out
}

// PlanSetup returns what a network needs so that members leave by the box. It fails with
// ErrConflict where that would change a default route of a person's, and with ErrNoRoom where the
// box can have no address, or shares its own with another member.
func PlanSetup(n Network, members []Member, want Wanted) (Plan, error) {
	p := Plan{Network: n}
	var known bool
	p.Box, known = find(members, want.Self)
	p.BoxIsNew = !known
	if !n.Private {
		p.Notes = append(p.Notes, "This network is public: anybody who knows its id can join and "+
			"leave by this box. Make it private at its controller.")
	}
	if !p.Box.Authorized {
		p.add(Change{Item: ItemAuthorization})
	}
	subnet, err := p.subnet4(want)
	if err != nil {
		return Plan{}, err
	}
	if !n.AssignV4 {
		p.add(Change{Item: ItemAssignV4})
	}
	if p.Box4, err = p.address(subnet, members, want.Self); err != nil {
		return Plan{}, err
	}
	if err := p.defaultRoute(p.Box4, members, want); err != nil {
		return Plan{}, err
	}
	if want.IPv6 {
		if err := p.ipv6(members, want); err != nil {
			return Plan{}, err
		}
	}
	p.dns(want)
	return p, nil
}

func (p *Plan) add(c Change) { p.Changes = append(p.Changes, c) }

// subnet4 returns the network's IPv4 subnet: that of the box's address, else the first. It plans a
// new one if there is none.
func (p *Plan) subnet4(want Wanted) (netip.Prefix, error) {
	var first netip.Prefix
	for _, r := range p.Network.Routes {
		if !r.onLink() || !r.Target.Addr().Is4() || r.Target.Bits() > 30 {
			continue
		}
		if slices.ContainsFunc(p.Box.Addrs, r.Target.Contains) {
			return r.Target, nil
		}
		if !first.IsValid() {
			first = r.Target
		}
	}
	if first.IsValid() {
		return first, nil
	}
	subnet, err := freeSubnet(want)
	if err != nil {
		return subnet, err
	}
	p.add(Change{Item: ItemRoute, Route: Route{Target: subnet}})
	b := subnet.Addr().As4()
	pool := Pool{First: netip.AddrFrom4([4]byte{b[0], b[1], b[2], 10}),
		Last: netip.AddrFrom4([4]byte{b[0], b[1], b[2], 254})}
	p.add(Change{Item: ItemPool, Pool: pool})
	return subnet, nil
}

// freeSubnet returns a /24 of 10.128.0.0/9 that overlaps nothing to avoid; routers at home seldom
// use that half. It follows from the box's address, so that two boxes seldom choose the same.
func freeSubnet(want Wanted) (netip.Prefix, error) {
	const tries = 1 << 16
	seed := uint32(want.Self ^ want.Self>>16)
	for i := range uint32(tries) {
		n := seed + i*257 // odd: every pair of bytes comes up once
		subnet := netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0x80 | byte(n>>8), byte(n), 0}), 24)
		if !slices.ContainsFunc(want.Avoid, subnet.Overlaps) {
			return subnet, nil
		}
	}
	return netip.Prefix{}, fmt.Errorf("choosing a subnet: %w: all of 10.128.0.0/9 is in use on "+
		"this box", ErrNoRoom)
}

// address returns the box's address in a subnet, and plans one if there is none. It takes the next
// hop of the default route if nobody has that address, else the first free one.
func (p *Plan) address(subnet netip.Prefix, members []Member,
	self zerotier.Address) (netip.Addr, error) {
	for _, a := range p.Box.Addrs {
		if !subnet.Contains(a) {
			continue
		}
		if i := slices.IndexFunc(members, func(m Member) bool {
			return m.Authorized && m.Address != self && slices.Contains(m.Addrs, a)
		}); i >= 0 {
			return a, fmt.Errorf("%w: its address %s is member %s's as well", ErrNoRoom, a,
				title(members[i]))
		}
		return a, nil
	}
	taken := map[netip.Addr]bool{}
	for _, m := range members {
		for _, a := range m.Addrs {
			taken[a] = taken[a] || m.Address != self
		}
	}
	free := func(a netip.Addr) bool { return !taken[a] && subnet.Contains(a) && a != subnet.Addr() }
	family := netip.PrefixFrom(subnet.Addr(), 0).Masked()
	for _, r := range p.Network.Routes {
		if r.Target == family && r.Via.IsValid() && free(r.Via) {
			p.add(Change{Item: ItemAddress, Addr: r.Via})
			return r.Via, nil
		}
		taken[r.Via] = true
	}
	for a := subnet.Addr().Next(); subnet.Contains(a); a = a.Next() {
		if free(a) && (a.Is6() || subnet.Contains(a.Next())) { // the last of IPv4 is broadcast
			p.add(Change{Item: ItemAddress, Addr: a})
			return a, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("choosing an address: %w: %s is full", ErrNoRoom, subnet)
}

// defaultRoute plans the default route by the box in via's family. One by an address of nobody is
// replaced. So is half of one, which members would follow in its place.
func (p *Plan) defaultRoute(via netip.Addr, members []Member, want Wanted) error {
	target := netip.PrefixFrom(via, 0).Masked()
	wanted := Route{Target: target, Via: via}
	have := false
	for _, r := range p.Network.Routes {
		if r.Target.Bits() > 1 || r.Target.Addr().Is4() != via.Is4() {
			continue
		}
		if r.Via == via {
			have = have || r.Target == target
			continue
		}
		i := slices.IndexFunc(members, func(m Member) bool {
			return m.Address != want.Self && slices.Contains(m.Addrs, r.Via)
		})
		if i >= 0 && !want.TakeOver {
			return fmt.Errorf("%w: its default route %s leads to member %s", ErrConflict, r,
				title(members[i]))
		}
		p.add(Change{Item: ItemRoute, Remove: true, Route: r})
	}
	if !have {
		p.add(Change{Item: ItemRoute, Route: wanted})
	}
	return nil
}

func title(m Member) string {
	if m.Name == "" {
		return m.Address.String()
	}
	return m.Address.String() + " " + fmt.Sprintf("%q", m.Name)
}

// ipv6 plans the members' IPv6. It uses a public prefix of the box, else what the network has
// already, else private addresses that follow from the ids.
func (p *Plan) ipv6(members []Member, want Wanted) error {
	modes := p.Network.V6
	switch {
	case want.Prefix6.IsValid():
		if err := p.publicV6(members, want); err != nil {
			return err
		}
		modes.Pools = true
	case modes.Pools && p.assigned6():
	case modes.RFC4193 || !modes.SixPlane:
		modes.RFC4193 = true
		p.Box6 = zerotier.RFC4193(p.Network.ID, want.Self).Addr()
	default:
		p.Box6 = zerotier.SixPlane(p.Network.ID, want.Self).Addr()
	}
	if modes != p.Network.V6 {
		p.add(Change{Item: ItemV6Modes, V6: modes, WasV6: p.Network.V6})
	}
	return p.defaultRoute(p.Box6, members, want)
}

// assigned6 takes the box's assigned IPv6 address, if it has one in a subnet of the network.
func (p *Plan) assigned6() bool {
	for _, a := range p.Box.Addrs {
		if a.Is6() && slices.ContainsFunc(p.Network.Routes,
			func(r Route) bool { return r.onLink() && r.Target.Contains(a) }) {
			p.Box6 = a
			return true
		}
	}
	return false
}

// publicV6 plans members' addresses out of want.Prefix6, with the box's first.
func (p *Plan) publicV6(members []Member, want Wanted) (err error) {
	prefix := want.Prefix6.Masked()
	onLink := Route{Target: prefix}
	if !slices.ContainsFunc(p.Network.Routes, onLink.same) {
		p.add(Change{Item: ItemRoute, Route: onLink})
	}
	first := prefix.Addr().As16()
	last := first
	first[14], last[14], last[15] = first[14]|1, last[14]|0xff, 0xff
	pool := Pool{First: netip.AddrFrom16(first), Last: netip.AddrFrom16(last)}
	if prefix.Bits() > 112 {
		return fmt.Errorf("%w: the IPv6 prefix %s is too small for members, want /112 or shorter",
			ErrNoRoom, prefix)
	}
	if !slices.ContainsFunc(p.Network.Pools,
		func(have Pool) bool { return prefix.Contains(have.First) }) {
		p.add(Change{Item: ItemPool, Pool: pool})
	}
	p.Box6, err = p.address(prefix, members, want.Self)
	return err
}

// dns plans the box as the members' resolver, if the network names none.
func (p *Plan) dns(want Wanted) {
	servers := []netip.Addr{p.Box4}
	if p.Box6.IsValid() {
		servers = append(servers, p.Box6)
	}
	switch {
	case slices.Equal(p.Network.DNS.Servers, servers):
	case len(p.Network.DNS.Servers) > 0:
		p.Notes = append(p.Notes, "The network's DNS servers stay: "+
			addrs(p.Network.DNS.Servers)+".")
	case p.Network.DNSIsFinal && !want.New:
		p.Notes = append(p.Notes, "No DNS servers are set: this controller could not unset them "+
			"again. Members' queries are answered through the exit all the same.")
	default:
		p.add(Change{Item: ItemDNS, WasDNS: p.Network.DNS,
			DNS: DNS{Domain: p.Network.DNS.Domain, Servers: servers}})
	}
}
