package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// blockWord is written in place of egresses by a rule that blocks.
const blockWord = "block"

func (d *decoder) egresses(v value) {
	if v.node == nil {
		return
	}
	for _, e := range v.entries() {
		at := e.pos()
		d.egressNames = append(d.egressNames, e.name)
		if !e.checkName(e.name) {
			continue
		}
		if e.name == blockWord {
			e.fail(ErrValue, `"block" is what a policy says to refuse traffic`,
				"choose another name")
			continue
		}
		if egress, ok := d.egress(e); ok {
			egress.Name, egress.Pos = e.name, at
			d.cfg.Egresses = append(d.cfg.Egresses, egress)
		}
	}
	d.checkWANsDiffer()
}

func (d *decoder) egress(e entry) (Egress, bool) {
	var out Egress
	kinds := map[string]func(value, *Egress) bool{"openvpn": d.openvpn, "zerotier": d.peer,
		"wan": d.wan}
	var given []string
	ok := true
	for _, kind := range e.entries() {
		decode, known := kinds[kind.name]
		if !known {
			kind.fail(ErrUnknownKey, "unknown kind of egress",
				didYouMean(kind.name, sortedKeys(kinds), "known: openvpn, wan, zerotier"))
			ok = false
			continue
		}
		given = append(given, kind.name)
		ok = decode(kind.value, &out) && ok
	}
	switch {
	case len(given) > 1:
		e.fail(ErrValue, "one egress is one way out, and this has "+strings.Join(given, " and "),
			"make an egress of each")
		return out, false
	case len(given) == 0 && ok:
		e.fail(ErrMissing, fmt.Sprintf("%q has no type", e.name),
			"add `openvpn: {profile: FILE}`, `zerotier: {via: ADDRESS}` or `wan: {}`")
		return out, false
	}
	return out, ok
}

func (d *decoder) openvpn(v value, out *Egress) bool {
	o := &OpenVPN{}
	out.OpenVPN = o
	named := func(collection bool) func(value) {
		return func(v value) {
			if o.ProfilePos != (Position{}) {
				v.fail(ErrValue, "the egress has both profile and profiles", "remove one of them")
			}
			o.Profile, _ = v.path()
			o.ProfilePos, o.Collection = v.pos(), collection
		}
	}
	v.object(fields{
		"profile": named(false), "profiles": named(true),
		"pick":   func(v value) { o.Pick = v.words() },
		"order":  func(v value) { o.Order, _ = v.oneOf("written", "random", "fastest") },
		"rotate": func(v value) { o.Rotate = v.timeOfDay() },
		"credentials": func(v value) {
			if path, ok := v.path(); ok {
				o.Credentials = &Credentials{Path: path}
				d.where["credentials "+path] = v.pos()
			}
		},
		"dns":           func(v value) { out.DNS = v.resolvers() },
		"legacy_crypto": func(v value) { o.LegacyCrypto = v.boolean() },
		"ciphers":       func(v value) { o.Ciphers = v.words() },
	})
	if len(o.Pick) > 0 && !o.Collection && o.Profile != "" {
		v.fail(ErrValue, "pick chooses among several profiles, and this egress has one",
			"name the folder or ZIP archive as `profiles: provider.zip`")
	}
	if o.Profile == "" && o.ProfilePos == (Position{}) {
		v.fail(ErrMissing, "a tunnel needs the provider's profile", "add `profile: provider.ovpn`")
	}
	return o.Profile != ""
}

// words returns a list that has at least one word.
func (v value) words() []string {
	var out []string
	for _, item := range v.some("the list is empty", "write a word, or remove the key") {
		if text, ok := item.text(); ok {
			out = append(out, text)
		}
	}
	return out
}

// timeOfDay returns the time since midnight of "04:30"; nil where it is none.
func (v value) timeOfDay() *time.Duration {
	d, ok := parsed(v, func(text string) (time.Duration, bool) {
		d, err := clockOf(text)
		return d, err == nil && d < 24*time.Hour
	}, "is not a time of day", `write it as "04:30"`)
	if !ok {
		return nil
	}
	return &d
}

func (d *decoder) peer(v value, out *Egress) bool {
	m := &Peer{}
	out.Peer = m
	var network, via value
	v.object(fields{
		"network": func(v value) { network = v },
		"via":     func(v value) { via = v },
		"dns":     func(v value) { out.DNS = v.resolvers() },
	})
	if via.node == nil {
		v.fail(ErrMissing, "the member to go through is not named",
			"add `via:` with its address in the ZeroTier network")
		return false
	}
	for _, item := range via.items() {
		addr, ok := item.addr()
		switch slot := m.slot(addr); {
		case !ok:
		case slot.IsValid():
			item.fail(ErrValue, "there are two addresses of one IP version",
				"give at most one of each")
		default:
			*slot = addr
		}
	}
	return d.peerNetwork(v, network, m) && (m.Via4.IsValid() || m.Via6.IsValid())
}

func (m *Peer) slot(addr netip.Addr) *netip.Addr {
	if addr.Is4() {
		return &m.Via4
	}
	return &m.Via6
}

func (d *decoder) peerNetwork(v, network value, m *Peer) bool {
	networks := d.cfg.ZeroTier.Networks
	if network.node == nil {
		if len(networks) == 1 {
			m.Network = networks[0].Name
			return true
		}
		v.fail(ErrMissing, "it is not said in which network the member is",
			"add `network:` with one of zerotier.networks")
		return false
	}
	text, ok := network.text()
	if !ok {
		return false
	}
	var known []string
	for _, n := range networks {
		if text == n.Name || strings.EqualFold(text, n.ID) {
			m.Network = n.Name
			return true
		}
		known = append(known, n.Name)
	}
	network.fail(ErrDangling, fmt.Sprintf("this box does not join a network %q", text),
		didYouMean(text, known, "add it to zerotier.networks"))
	return false
}

func (d *decoder) wan(v value, out *Egress) bool {
	w := &WAN{IPv6: WANIPv6{Mode: IPv6NAT66}}
	out.WAN = w
	v.object(fields{
		"interface": func(v value) {
			if w.Interface = v.iface(); w.Interface != "" {
				d.where["wan "+w.Interface] = v.pos()
			}
		},
		"snat": func(v value) {
			if addr, ok := v.addr(); ok && addr.Is6() {
				v.fail(ErrValue, "SNAT is for IPv4", "use `ipv6:` to say how IPv6 leaves")
			} else {
				w.SNAT = addr
			}
		},
		"ipv6":  func(v value) { w.IPv6 = d.wanIPv6(v) },
		"dns":   func(v value) { out.DNS = v.resolvers() },
		"shape": func(v value) { w.Shape = v.rate() },
	})
	return true
}

// rates are units of bits a second.
var rates = []struct {
	unit string
	bits float64
}{{"kbit", 1e3}, {"mbit", 1e6}, {"gbit", 1e9}}

// The rates that a line of a box can have, in bits a second.
const (
	leastRate = 64e3
	mostRate  = 100e9
)

// rate reads a number of bits a second, as in 50mbit; 0 where it is none.
func (v value) rate() uint64 {
	text, ok := v.text()
	if !ok {
		return 0
	}
	for _, r := range rates {
		number, found := strings.CutSuffix(strings.ToLower(text), r.unit)
		n, err := strconv.ParseFloat(number, 64)
		if found && err == nil && n*r.bits >= leastRate && n*r.bits <= mostRate {
			return uint64(n * r.bits)
		}
	}
	v.fail(ErrValue, fmt.Sprintf("%q is not the rate of a line", text),
		"write it as 50mbit (kbit, mbit, gbit), a little below what the line uploads")
	return 0
}

func (d *decoder) wanIPv6(v value) WANIPv6 {
	if v.node.Kind == yaml.ScalarNode {
		mode, ok := v.oneOf(string(IPv6NAT66), string(IPv6Off))
		if !ok {
			mode = string(IPv6Off)
		}
		return WANIPv6{Mode: IPv6Mode(mode)}
	}
	out := WANIPv6{Mode: IPv6Prefix, NDP: true}
	v.object(fields{
		"prefix": func(v value) {
			p, ok := v.prefix()
			switch {
			case !ok:
			case !p.Addr().Is6() || p.Bits() < 48 || p.Bits() > 120 ||
				p.Addr().IsLinkLocalUnicast():
				v.fail(ErrValue, fmt.Sprintf("%s is no prefix to number members from", p),
					"write a part of what the provider gave you, from /48 to /120")
			default:
				out.Prefix = p
				d.claim(p, v.pos(), "the WAN's prefix for members", wanSide)
				if p.Addr().IsPrivate() {
					d.warn(v.pos(), p.String()+
						" is private: nothing on the Internet can answer to it; use `ipv6: "+
						"nat66` instead")
				}
			}
		},
		"ndp": func(v value) { out.NDP = v.boolean() },
	})
	if !out.Prefix.IsValid() && find(v.node, "prefix") == nil {
		v.fail(ErrMissing, "the prefix is missing",
			"add `prefix:`, or write `ipv6: nat66` or `ipv6: off`")
	}
	return out
}

// checkWANsDiffer refuses two egresses on one interface. Translation is decided by the interface
// that a packet leaves by, so that the two would mix.
func (d *decoder) checkWANsDiffer() {
	seen := map[string]string{}
	for _, e := range d.cfg.Egresses {
		if e.WAN == nil {
			continue
		}
		if other, dup := seen[e.WAN.Interface]; dup {
			d.fail(e.Pos, ErrDuplicate, fmt.Sprintf("it leaves by the same interface as %q", other),
				"give each its own `interface:`")
		}
		seen[e.WAN.Interface] = e.Name
	}
}

// resolvers decodes DNS servers: 9.9.9.9, [2620:fe::fe]:53, tls://9.9.9.9#dns.quad9.net.
func (v value) resolvers() []Resolver {
	var list []Resolver
	for _, item := range v.items() {
		r, ok := item.resolver()
		switch {
		case !ok:
		case slices.Contains(list, r):
			item.fail(ErrDuplicate, "this resolver is listed twice", "remove one of them")
		case len(list) > 0 && list[0].TLS != r.TLS:
			item.fail(ErrValue,
				"resolvers with TLS and without do not mix: a fall back to plain text would go "+
					"unnoticed",
				"write tls:// before all of them, or before none")
		default:
			list = append(list, r)
		}
	}
	return list
}

func (v value) resolver() (Resolver, bool) {
	text, ok := v.text()
	if !ok {
		return Resolver{}, false
	}
	var r Resolver
	port := uint16(53)
	rest := text
	if after, found := strings.CutPrefix(text, "tls://"); found {
		r.TLS, port = true, 853
		rest, r.TLSName, _ = strings.Cut(after, "#")
	}
	addr, err := netip.ParseAddr(strings.Trim(rest, "[]"))
	r.Addr = netip.AddrPortFrom(addr, port)
	if err != nil {
		r.Addr, err = netip.ParseAddrPort(rest)
	}
	badName := r.TLSName != "" && (!hostRE.MatchString(r.TLSName) || len(r.TLSName) > 253)
	if err != nil || !unicast(r.Addr.Addr()) || r.Addr.Port() == 0 || badName {
		v.fail(ErrValue, fmt.Sprintf("%q is not a resolver", text),
			"write it as 9.9.9.9 or tls://9.9.9.9#dns.quad9.net")
		return Resolver{}, false
	}
	if !r.TLS && r.Addr.Port() != port {
		// Clients' own questions are steered there, which keep their port.
		v.fail(ErrValue, fmt.Sprintf(
			"%q has a port of its own: a plain resolver is asked on port %d", text, port),
			"leave the port out; only tls:// takes one")
		return Resolver{}, false
	}
	return r, true
}
