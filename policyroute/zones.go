package policyroute

import (
	"cmp"
	"net/netip"
	"slices"
)

// zone is a prefix whose addresses, except those of its sub-zones, share one label. The label is a
// source class or an egress list. Prefixes either nest or are disjoint, so zones form a tree, and
// the longest matching zone of an address decides.
//
//	0.0.0.0/0 → C                      the label of everything else
//	└─ 10.147.0.0/16 → A
//	   ├─ 10.147.17.50/32 → B
//	   └─ 10.147.20.0/24 → D
type zone struct {
	prefix netip.Prefix
	label  int
	sub    []*zone // disjoint, ascending
}

// none labels addresses that no policy applies to.
const none = -1

// claim says that an owner applies to a prefix.
type claim struct {
	prefix netip.Prefix
	owner  int
}

// zones builds the tree of a family. label maps the owners that hold at a place, in ascending
// order, to the label of the place; ends says that owners after this one are never looked at
// there. Zones with the label of what surrounds them are dissolved.
func zones(f Family, claims []claim, ends func(owner int) bool,
	label func(owners []int) int) *zone {
	slices.SortFunc(claims, func(a, b claim) int {
		return cmp.Or(a.prefix.Addr().Compare(b.prefix.Addr()),
			cmp.Compare(a.prefix.Bits(), b.prefix.Bits()),
			cmp.Compare(a.owner, b.owner))
	})
	b := zoneBuilder{claims: claims, ends: ends, label: label}
	const outside = none - 1 // differs from every label: the root is never dissolved
	return b.within(f.Default(), nil, outside)[0]
}

type zoneBuilder struct {
	claims []claim
	next   int
	ends   func(int) bool
	label  func([]int) int
}

// within consumes the claims inside p, where the owners of the surrounding zone apply. It returns p
// as a zone or, if p has the label of its surroundings, the zones inside p.
func (b *zoneBuilder) within(p netip.Prefix, owners []int, surrounding int) []*zone {
	var own []int
	for b.next < len(b.claims) && b.claims[b.next].prefix == p {
		own = append(own, b.claims[b.next].owner)
		b.next++
	}
	owners = b.merge(owners, own)
	z := &zone{prefix: p, label: b.label(owners)}
	for b.next < len(b.claims) && p.Contains(b.claims[b.next].prefix.Addr()) {
		z.sub = append(z.sub, b.within(b.claims[b.next].prefix, owners, z.label)...)
	}
	if z.label == surrounding {
		return z.sub
	}
	return []*zone{z}
}

// merge joins two ascending lists without repetition, up to the first owner that is final.
func (b *zoneBuilder) merge(x, y []int) []int {
	out := make([]int, 0, len(x)+len(y))
	for len(x)+len(y) > 0 {
		var o int
		if len(y) == 0 || len(x) > 0 && x[0] <= y[0] {
			o, x = x[0], x[1:]
		} else {
			o, y = y[0], y[1:]
		}
		if len(out) > 0 && out[len(out)-1] == o {
			continue
		}
		out = append(out, o)
		if b.ends(o) {
			break
		}
	}
	return out
}

// size is the number of zones inside of z.
func (z *zone) size() int {
	n := len(z.sub)
	for _, s := range z.sub {
		n += s.size()
	}
	return n
}

// height is the number of levels of zones inside of z.
func (z *zone) height() int {
	h := 0
	for _, s := range z.sub {
		h = max(h, s.height()+1)
	}
	return h
}

// find returns the label of an address.
func (z *zone) find(a netip.Addr) int {
	for {
		i, found := slices.BinarySearchFunc(z.sub, a, func(s *zone, a netip.Addr) int {
			if s.prefix.Contains(a) {
				return 0
			}
			return s.prefix.Addr().Compare(a)
		})
		if !found {
			return z.label
		}
		z = z.sub[i]
	}
}

// span is a range of addresses with one label, both ends included.
type span struct {
	first, last netip.Addr
	label       int
}

// spans flattens the tree to disjoint ranges in ascending order; neighbours with equal labels are
// one.
func (z *zone) spans() []span {
	out := make([]span, 0, 2*z.size()+1)
	put := func(first, last netip.Addr, label int) {
		if n := len(out); n > 0 && out[n-1].label == label {
			out[n-1].last = last
			return
		}
		out = append(out, span{first, last, label})
	}
	var walk func(z *zone)
	walk = func(z *zone) {
		at, open := z.prefix.Addr(), true
		for _, s := range z.sub {
			if at.Less(s.prefix.Addr()) {
				put(at, s.prefix.Addr().Prev(), z.label)
			}
			walk(s)
			at = lastOf(s.prefix).Next()
			open = at.IsValid()
		}
		if end := lastOf(z.prefix); open && at.Compare(end) <= 0 {
			put(at, end, z.label)
		}
	}
	walk(z)
	return out
}

// lastOf returns the highest address of a prefix, as go4.org/netipx would: this package imports the
// standard library alone.
func lastOf(p netip.Prefix) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(b)
	return a
}

// ofFamily returns the prefixes of one family, masked, in their order.
func ofFamily(f Family, ps []netip.Prefix) []netip.Prefix {
	var out []netip.Prefix
	for _, p := range ps {
		if FamilyOf(p.Addr()) == f {
			out = append(out, p.Masked())
		}
	}
	return out
}
