package config

import (
	"fmt"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Defaults of the endpoint and of the probes, each the choice of a cautious friend.
var (
	// A corner of 10/8 that home routers, Docker, clouds and providers do not hand out by default.
	defaultPool4 = netip.MustParsePrefix("10.83.64.0/20")
	// Private, and translated on the way out like any IPv6 of an endpoint's client.
	defaultPool6 = netip.MustParsePrefix("fd5a:5442:4947::/64")
	// UDP first: TCP in TCP is slower. 443: what every café lets out.
	defaultListen = []Listener{{"udp", 1194}, {"tcp", 443}}
	// Three operators, so that the outage of one is not taken for that of the tunnel.
	defaultTargets = []netip.Addr{
		netip.MustParseAddr("1.1.1.1"), netip.MustParseAddr("9.9.9.9"),
		netip.MustParseAddr("8.8.8.8"),
		netip.MustParseAddr("2606:4700:4700::1111"),
		netip.MustParseAddr("2620:fe::fe"), netip.MustParseAddr("2001:4860:4860::8888"),
	}
)

const (
	defaultInterval = 500 * time.Millisecond
	defaultHoldDown = 30 * time.Second
	letsEncrypt     = "https://acme-v02.api.letsencrypt.org/directory"
)

func (d *decoder) endpoint(v value) {
	e := &Endpoint{
		Pool4: defaultPool4, Pool6: defaultPool6, Pos: v.pos(),
		Clients: ClientDefaults{Tunnel: TunnelFull, DNS: true},
	}
	d.cfg.Endpoint = e
	pool4At, pool6At := v, v
	addressAt := value{}
	v.object(fields{
		"listen":  func(v value) { e.Listen = d.listeners(v) },
		"address": func(v value) { addressAt = v; e.Address, _ = v.host() },
		"pool":    func(v value) { pool4At = v; e.Pool4 = v.pool(e.Pool4, 8, 26) },
		"pool6":   func(v value) { pool6At = v; e.Pool6 = v.pool(e.Pool6, 48, 112) },
		"clients": func(v value) { d.clientDefaults(v, &e.Clients) },
		"https":   func(v value) { d.https(v, &e.HTTPS) },
	}, "clients", "https")
	if e.Listen == nil {
		e.Listen = defaultListen
	}
	if addressAt.node == nil {
		v.fail(ErrMissing, "clients must know where to connect",
			"add `address:` with this box's public name or address")
	}
	d.claim(e.Pool4, pool4At.pos(), "the endpoint's pool", membersSide)
	d.claim(e.Pool6, pool6At.pos(), "the endpoint's IPv6 pool", membersSide)
	if _, err := netip.ParseAddr(e.Address); err == nil && e.HTTPS.ACME != nil {
		v.fail(ErrValue, "an authority certifies names, and endpoint.address is an address",
			"give this box a public name, or leave https.acme out")
	}
	if e.HTTPS.ACME != nil && !slices.Contains(e.Listen, Listener{"tcp", 443}) {
		d.warn(d.where["acme"],
			"the authority connects to port 443, where the endpoint does not listen; "+
				"add tcp/443 to `listen:`, unless a router in front sends its port 443 to "+
				"another listener here")
	}
}

func (d *decoder) listeners(v value) []Listener {
	var list []Listener
	for _, item := range v.some("the endpoint listens nowhere",
		"write [tcp/443, udp/1194], or leave `listen:` out for just these") {
		text, ok := item.text()
		if !ok {
			continue
		}
		proto, number, found := strings.Cut(text, "/")
		if !found || proto != "tcp" && proto != "udp" {
			item.fail(ErrValue, fmt.Sprintf("%q is not a protocol with a port", text),
				"write it as tcp/443 or udp/1194")
			continue
		}
		port, ok := item.port(number)
		if !ok {
			continue
		}
		if slices.Contains(list, Listener{proto, port}) {
			item.fail(ErrDuplicate, "this listener is listed twice", "remove one of them")
			continue
		}
		list = append(list, Listener{proto, port})
	}
	return list
}

// pool decodes the addresses of clients. They are private, of the default's IP version, and few
// enough to divide among listeners.
func (v value) pool(fallback netip.Prefix, shortest, longest int) netip.Prefix {
	p, ok := v.prefix()
	if !ok {
		return fallback
	}
	if p.Addr().BitLen() != fallback.Addr().BitLen() || p.Bits() < shortest || p.Bits() > longest {
		v.fail(ErrValue, fmt.Sprintf("%s is no pool for clients", p),
			fmt.Sprintf("write a prefix from /%d to /%d like %s", shortest, longest, fallback))
		return fallback
	}
	if p.Addr().Is4() && !p.Addr().IsPrivate() && !sharedAddresses.Overlaps(p) {
		v.fail(ErrValue, fmt.Sprintf("%s belongs to somebody on the Internet", p),
			"take a part of 10.0.0.0/8, 172.16.0.0/12 or 192.168.0.0/16")
		return fallback
	}
	return p
}

// sharedAddresses is the range between a provider and its customers (RFC 6598).
var sharedAddresses = netip.MustParsePrefix("100.64.0.0/10")

func (d *decoder) clientDefaults(v value, c *ClientDefaults) {
	v.object(fields{
		"tunnel": func(v value) {
			if mode, ok := v.oneOf(string(TunnelFull), string(TunnelZeroTier)); ok {
				c.Tunnel = TunnelMode(mode)
			}
		},
		"dns": func(v value) { c.DNS = v.boolean() },
	})
}

func (d *decoder) https(v value, h *HTTPS) {
	v.object(fields{
		"certificate": func(v value) {
			if h.Certificate, _ = v.path(); h.Certificate != "" {
				d.where["certificate"] = v.pos()
			}
		},
		"key": func(v value) {
			if h.Key, _ = v.path(); h.Key != "" {
				d.where["key"] = v.pos()
			}
		},
		"acme": func(v value) { d.where["acme"], h.ACME = v.pos(), d.acme(v) },
	})
	switch {
	case (h.Certificate == "") != (h.Key == ""):
		v.fail(ErrMissing, "a certificate and its key go together",
			"give both `certificate:` and `key:`")
	case h.ACME != nil && h.Certificate != "":
		v.fail(ErrValue, "there are two sources of certificates",
			"keep either `acme:` or `certificate:` and `key:`")
	}
}

func (d *decoder) acme(v value) *ACME {
	a := &ACME{Directory: letsEncrypt}
	if v.isNull() {
		v.fail(ErrMissing,
			"nothing is written here, which leaves open whether a certificate is wanted",
			"write `acme: {}` to ask for one, or remove the key")
	}
	v.object(fields{
		"email": func(v value) {
			text, ok := v.text()
			if at := strings.Index(text, "@"); ok &&
				(at < 1 || at == len(text)-1 || strings.ContainsAny(text, " \t\r\n<>")) {
				v.fail(ErrValue, fmt.Sprintf("%q is not a mail address", text),
					"write it as you@example.org")
			}
			a.Email = text
		},
		"directory": func(v value) {
			text, ok := v.text()
			u, err := url.Parse(text)
			if ok && (err != nil || u.Scheme != "https" || u.Host == "") {
				v.fail(ErrValue, fmt.Sprintf("%q is not the URL of an ACME directory", text),
					"write it as "+letsEncrypt)
			}
			a.Directory = text
		},
	})
	return a
}

func (d *decoder) probe(v value) {
	p := &d.cfg.Probe
	v.object(fields{
		"targets": func(v value) {
			p.Targets = nil
			for _, item := range v.some("without a target nothing can be probed",
				"name hosts that answer pings, or leave `targets:` out") {
				addr, ok := item.addr()
				if ok && slices.Contains(p.Targets, addr) {
					item.fail(ErrDuplicate, "this target is listed twice", "remove one of them")
				} else if ok {
					p.Targets = append(p.Targets, addr)
				}
			}
		},
		"interval": func(v value) {
			if t, ok := v.duration(100*time.Millisecond, time.Minute); ok {
				p.Interval = t
			}
		},
		"hold_down": func(v value) {
			if t, ok := v.duration(0, time.Hour); ok {
				p.HoldDown = t
			}
		},
	})
}

// DefaultTargets returns the hosts that are probed where the configuration names none.
func DefaultTargets() []netip.Addr { return slices.Clone(defaultTargets) }
