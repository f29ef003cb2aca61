package endpoint

import (
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/netip"
)

// Pool holds the addresses of the clients of one listener. It always has both families: a client
// without IPv6 in the tunnel would send its IPv6 outside of it.
type Pool struct {
	V4, V6 netip.Prefix
}

// minParts is the least number of parts of a pool. It keeps the addresses of existing clients when
// a listener is added.
const minParts = 4

// Divide returns equal, disjoint parts of two pools for n listeners, in their order.
func Divide(pool4, pool6 netip.Prefix, n int) ([]Pool, error) {
	if n < 1 {
		return nil, fmt.Errorf("dividing the endpoint's pool among %d listeners", n)
	}
	depth := bits.Len(uint(max(n, minParts) - 1))
	if pool4.Bits()+depth > 29 {
		return nil, fmt.Errorf("dividing the endpoint's pool: %s is too small for %d listeners",
			pool4, n)
	}
	// OpenVPN accepts prefix lengths from 64 to 124 (ifconfig-ipv6).
	depth6 := depth + max(0, 64-pool6.Bits()-depth)
	if pool6.Bits()+depth6 > 124 {
		return nil, fmt.Errorf("dividing the endpoint's pool: %s is too small for %d listeners",
			pool6, n)
	}
	pools := make([]Pool, n)
	for i := range pools {
		pools[i] = Pool{V4: part(pool4, depth, i), V6: part(pool6, depth6, i)}
	}
	return pools, nil
}

// part returns the i-th of the 1<<depth parts of a prefix.
func part(p netip.Prefix, depth, i int) netip.Prefix {
	length := p.Bits() + depth
	a := p.Masked().Addr().AsSlice()
	for b := range depth {
		if i>>b&1 == 1 {
			bit := length - 1 - b
			a[bit/8] |= 0x80 >> (bit % 8)
		}
	}
	addr, _ := netip.AddrFromSlice(a) // as long as it was
	return netip.PrefixFrom(addr, length)
}

// serverHost is the server's host number in every pool, lower than any client's.
const serverHost = 1

// Server returns the box's own addresses in the pool, with the length of the subnet.
func (p Pool) Server() []netip.Prefix {
	return []netip.Prefix{
		netip.PrefixFrom(nth(p.V4, serverHost), p.V4.Bits()),
		netip.PrefixFrom(nth(p.V6, serverHost), p.V6.Bits()),
	}
}

// Prefixes returns both families.
func (p Pool) Prefixes() []netip.Prefix { return []netip.Prefix{p.V4, p.V6} }

// Client returns the addresses of a client by its host number.
func (p Pool) Client(host uint32) ([]netip.Addr, error) {
	if host <= serverHost || host > p.LastHost() {
		return nil, fmt.Errorf("host number %d is outside the pool %s", host, p.V4)
	}
	return []netip.Addr{nth(p.V4, host), nth(p.V6, host)}, nil
}

// LastHost returns the highest host number of a client in both families. The last address of a
// subnet is its broadcast address.
func (p Pool) LastHost() uint32 {
	room := min(32-p.V4.Bits(), 128-p.V6.Bits(), 31)
	return 1<<room - 2
}

// Host returns the host number of an address; ok reports whether a client can have it.
func (p Pool) Host(a netip.Addr) (host uint32, ok bool) {
	for _, prefix := range p.Prefixes() {
		if !prefix.Contains(a) {
			continue
		}
		raw, base := a.AsSlice(), prefix.Masked().Addr().AsSlice()
		for i := range raw {
			raw[i] ^= base[i]
		}
		for _, b := range raw[:len(raw)-4] {
			if b != 0 {
				return 0, false
			}
		}
		host = binary.BigEndian.Uint32(raw[len(raw)-4:])
		return host, host > serverHost && host <= p.LastHost()
	}
	return 0, false
}

// nth returns the n-th address of a prefix, which has at least that many.
func nth(p netip.Prefix, n uint32) netip.Addr {
	a := p.Masked().Addr().AsSlice()
	low := a[len(a)-4:]
	binary.BigEndian.PutUint32(low, binary.BigEndian.Uint32(low)|n)
	addr, _ := netip.AddrFromSlice(a) // as long as it was
	return addr
}
