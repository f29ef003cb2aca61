package lab

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strings"
)

// serverConfig returns the configuration of the server of the i-th transport.
func (p *Provider) serverConfig(i int) string {
	proto := p.opts.Protos[i]
	pool4, pool6 := nthSubnet(p.pool4, i), nthSubnet(p.pool6, i)
	resolver := pool4.Addr().Next()
	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }

	if proto == OverTCP {
		line("proto tcp4-server")
	} else {
		line("proto udp4")
		line("multihome") // answers come from the public address that was asked
	}
	line("port %d", proto.port())
	line("dev tun-%s", proto)
	line("dev-type tun")
	line("topology subnet")
	line("server %s %s", pool4.Addr(), net.IP(net.CIDRMask(pool4.Bits(), 32)))
	line("ca %s/ca.pem", p.dir)
	line("cert %s/server.pem", p.dir)
	line("key %s/server.key", p.dir)
	line("tls-crypt %s/tls.key", p.dir)
	line("dh none")
	line("keepalive 10 60")
	line("duplicate-cn")
	line("management %s unix", p.socket(proto))
	line("verb 3")
	if p.opts.Credentials != nil {
		line("verify-client-cert none")
		line("username-as-common-name")
		line("script-security 2")
		line("auth-user-pass-verify %s/check via-file", p.dir)
		line("tmp-dir %s", p.dir)
	}
	line(`push "dhcp-option DNS %s"`, resolver)
	if p.opts.IPv4Only {
		line(`push "redirect-gateway def1"`)
	} else {
		line("server-ipv6 %s", pool6)
		line(`push "redirect-gateway def1 ipv6"`)
	}
	for _, option := range p.push {
		line("push %q", option)
	}
	return b.String()
}

// nthSubnet returns the i-th prefix of the same length after p.
func nthSubnet(p netip.Prefix, i int) netip.Prefix {
	if i == 0 {
		return p
	}
	if p.Addr().Is4() {
		a := p.Addr().As4()
		binary.BigEndian.PutUint32(a[:], binary.BigEndian.Uint32(a[:])+uint32(i)<<(32-p.Bits()))
		return netip.PrefixFrom(netip.AddrFrom4(a), p.Bits())
	}
	// Prefixes of at most 64 bits: OpenVPN wants /64 to /124 and the lab uses /64.
	a := p.Addr().As16()
	binary.BigEndian.PutUint64(a[:8], binary.BigEndian.Uint64(a[:8])+uint64(i))
	return netip.PrefixFrom(netip.AddrFrom16(a), p.Bits())
}

// HostileOptions are pushes of a provider that wants its customer's routes, names, sockets or
// process. lan is a network of the customer's own. Pushes that both ends must agree on, as that of
// compression, are not among them: with these a server breaks its own tunnel.
func HostileOptions(lan netip.Prefix) []string {
	mask := net.IP(net.CIDRMask(lan.Bits(), 32))
	return []string{
		"redirect-gateway local def1 bypass-dhcp bypass-dns",
		"redirect-private def1",
		"route 0.0.0.0 128.0.0.0", "route 128.0.0.0 128.0.0.0",
		fmt.Sprintf("route %s %s", lan.Masked().Addr(), mask),
		"route 198.51.100.0 255.255.255.0 net_gateway",
		"route-ipv6 2000::/3", "route-ipv6 fd50::/64", "route-metric 0",
		fmt.Sprintf("dhcp-option DNS %s", lan.Masked().Addr().Next()),
		"dhcp-option DNS 127.0.0.1", "dhcp-option DOMAIN evil.example",
		"dhcp-option PROXY_HTTP 10.8.0.1 8080",
		"block-outside-dns", "register-dns", "block-ipv6",
		"ping 1", "ping-restart 1", "ping-exit 1", "inactive 1 1000000", "explicit-exit-notify 5",
		"sndbuf 1024", "rcvbuf 1024", "socket-flags TCP_NODELAY",
		"persist-tun", "setenv PATH /tmp", "echo hello", "txqueuelen 1",
	}
}
