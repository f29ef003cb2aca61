package policyroute

import (
	"iter"
	"net/netip"
	"slices"
)

// worlds are main tables that lead everything to one device: each egress, each ingress, and an
// unknown interface. The host forwards for itself, too: the worst case.
func worlds(intents []Intent) []world {
	out := []world{{dev: foreign, forwards: true}}
	add := func(dev string) {
		if w := (world{dev: dev, forwards: true}); dev != "" && !slices.Contains(out, w) {
			out = append(out, w)
		}
	}
	for _, in := range intents {
		for _, e := range in.Egresses {
			add(e.Iface)
		}
		for _, g := range in.Ingresses {
			add(g.Iface)
		}
	}
	return out
}

// crossLimit limits the pairs of addresses. Beyond it, each source is combined with a few
// destinations and each destination with a few sources, instead of all with all.
const crossLimit = 4096

// packets yields the representative packets of some intents.
func packets(intents []Intent) iter.Seq[packet] {
	return func(yield func(packet) bool) {
		for _, f := range Families {
			sources, destinations := addresses(f, intents)
			for src, dst := range pairs(sources, destinations) {
				for _, iif := range entries(intents) {
					for _, p := range kinds(iif, src, dst) {
						if !yield(p) {
							return
						}
					}
				}
			}
		}
	}
}

// kinds returns the packets between two addresses.
func kinds(iif string, src, dst netip.Addr) []packet {
	p := packet{iif: iif, src: src, dst: dst, proto: "udp", dport: 4000}
	later, reply, query, web, untracked := p, p, p, p, p
	later.opened = true
	reply.opened, reply.reply = true, true
	query.dport = 53
	web.proto, web.dport = "tcp", 443
	steered := query
	steered.opened, steered.steered = true, true
	untracked.untracked = true
	return []packet{p, later, reply, query, web, steered, untracked}
}

// entries returns the interfaces by which packets come: the ingresses, the egresses, and an unknown
// one.
func entries(intents []Intent) []string {
	out := []string{foreign}
	for _, w := range worlds(intents) {
		if !slices.Contains(out, w.dev) {
			out = append(out, w.dev)
		}
	}
	return out
}

func pairs(xs, ys []netip.Addr) iter.Seq2[netip.Addr, netip.Addr] {
	return func(yield func(x, y netip.Addr) bool) {
		if len(xs)*len(ys) <= crossLimit {
			for _, x := range xs {
				for _, y := range ys {
					if !yield(x, y) {
						return
					}
				}
			}
			return
		}
		for shift := range 2 {
			for i := range max(len(xs), len(ys)) {
				if !yield(xs[i%len(xs)], ys[(i*7+shift*3)%len(ys)]) {
					return
				}
			}
		}
	}
}

// addresses returns the boundaries of all prefixes of the family, on both sides of each.
func addresses(f Family, intents []Intent) (sources, destinations []netip.Addr) {
	internet := []string{"8.8.8.8", "200.1.2.3"} // one in each half, 0/1 and 128/1
	if f == V6 {
		internet = []string{"2606:4700::1111", "c000::1"}
	}
	for _, s := range internet {
		sources = append(sources, netip.MustParseAddr(s))
	}
	destinations = slices.Clone(sources)
	for _, in := range intents {
		for _, g := range in.Ingresses {
			sources = append(sources, boundaries(f, g.Prefixes)...)
			destinations = append(destinations, boundaries(f, g.Prefixes)...)
		}
		for _, p := range in.Policies {
			sources = append(sources, boundaries(f, p.From)...)
			destinations = append(destinations, boundaries(f, p.To)...)
		}
		for _, i := range in.Inbound {
			destinations = append(destinations, boundaries(f, []netip.Prefix{i.To})...)
		}
		for _, e := range in.Egresses {
			destinations = append(destinations, boundaries(f, e.Closed)...)
			destinations = append(destinations, boundaries(f, e.Open)...)
			for _, a := range append(slices.DeleteFunc([]netip.Addr{e.Gateway4, e.Gateway6},
				isZero), e.DNS...) {
				destinations = append(destinations,
					boundaries(f, []netip.Prefix{netip.PrefixFrom(a, a.BitLen())})...)
			}
		}
	}
	return unique(sources), unique(destinations)
}

func isZero(a netip.Addr) bool { return !a.IsValid() }

func boundaries(f Family, ps []netip.Prefix) []netip.Addr {
	var out []netip.Addr
	for _, p := range ofFamily(f, ps) {
		for _, a := range []netip.Addr{p.Addr().Prev(), p.Addr(), lastOf(p), lastOf(p).Next()} {
			if a.IsValid() {
				out = append(out, a)
			}
		}
	}
	return out
}

func unique(as []netip.Addr) []netip.Addr {
	slices.SortFunc(as, netip.Addr.Compare)
	return slices.Compact(as)
}
