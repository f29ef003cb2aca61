package e2e

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"testing"
	"time"

	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// resolving is the network of a proxy that knows the names of a provider's servers.
type resolving struct {
	*netlab.Namespace
	provider *lab.Provider
}

func (r resolving) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if host, port, err := net.SplitHostPort(address); err == nil {
		if i := slices.Index(r.provider.Hosts, host); i >= 0 {
			address = net.JoinHostPort(r.provider.Public4[i].String(), port)
		}
	}
	return r.Namespace.Dial(ctx, network, address)
}

// TestProxyNeverLeaks mistreats a box whose tunnel goes by a proxy: one in the network of its WAN,
// as a company has, and one on the Internet.
func TestProxyNeverLeaks(t *testing.T) {
	t.Parallel()
	router := netip.AddrPortFrom(lab.WANNet4.Masked().Addr().Next(), 3128)
	for name, tc := range map[string]struct {
		at    netip.AddrPort
		proto lab.Proto
		kind  lab.ProxyKind
		lines string
	}{
		"HTTP in the LAN": {router, lab.OverTCP, lab.HTTPProxy, "http-proxy " +
			router.Addr().String() + " 3128 auto\n"},
		"SOCKS on the Internet": {netip.AddrPortFrom(lab.HostTarget4, 3128), lab.OverUDP,
			lab.SOCKSProxy, "socks-proxy " + lab.HostTarget4.String() + " 3128\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			proxyNeverLeaks(t, tc.at, tc.proto, lab.ProxyOptions{Kind: tc.kind, User: "room 12",
				Password: "bread"}, tc.lines)
		})
	}
}

func proxyNeverLeaks(t *testing.T, at netip.AddrPort, proto lab.Proto, good lab.ProxyOptions,
	lines string) {
	top := standard(t, lab.Options{Providers: []lab.ProviderOptions{{Protos: []lab.Proto{proto}}}})
	provider := top.Providers[0]
	b := newBox(t, top.Box)
	b.write("provider.ovpn", provider.Config()+lines+
		"<http-proxy-user-pass>\nroom 12\nbread\n</http-proxy-user-pass>\n")
	b.write("ztbridge.yaml", gatewayConfig)
	where := resolving{top.Router, provider}
	if at.Addr() == lab.HostTarget4 {
		where.Namespace = top.Internet
	}
	var proxy *lab.Proxy
	seen := map[netip.Addr]bool{}
	end := func() {
		t.Helper()
		for _, a := range proxy.Clients() {
			seen[a] = true
		}
		must(t, proxy.Close())
	}
	begin := func(options lab.ProxyOptions) {
		t.Helper()
		next, err := lab.StartProxy(where, at, options)
		must(t, err)
		proxy = next
	}
	swap := func(options lab.ProxyOptions) func() {
		return func() {
			t.Helper()
			end()
			begin(options)
			time.Sleep(2 * time.Second) // as long as somebody is tempted by another path
			end()
			begin(good)
		}
	}
	begin(good)
	t.Cleanup(func() { _ = proxy.Close() })
	leaks, err := top.WatchLeaks()
	must(t, err)
	b.start()
	b.awaitEgress("provider")
	tr := startTraffic(t, top)
	tr.awaitFlow("start")

	says := func(answer string) lab.ProxyOptions {
		return lab.ProxyOptions{Kind: good.Kind, Answer: answer}
	}
	other := good
	other.Password = "butter"
	nobody := good
	nobody.Refuse = func(string) bool { return true }
	tr.mistreat(top.Box, []mistreatment{
		{"the proxy dies and comes back", func() {
			end()
			time.Sleep(2 * time.Second)
			begin(good)
		}},
		{"the proxy lies", swap(says("HTTP/1.1 200 OK\r\n\r\n<html>hello</html>"))},
		{"the proxy says garbage", swap(says("\x05\x00\x05\x00\xff\xff\xffgarbage"))},
		{"the proxy refuses the place", swap(nobody)},
		{"openvpn kill -9", func() { b.kill("tunztb-provider") }},
		{"server restarted", func() { must(t, provider.Restart(t.Context())) }},
		{"nft flush ruleset", func() { b.sh("nft flush ruleset") }},
		{"the proxy refuses the login", func() {
			swap(other)()
			b.stop() // a refused login is tried again late; a restart is not
			b.start()
		}},
	})
	// A client cannot go the way that the tunnel goes.
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	conn, err := top.Client.Dial(ctx, "tcp", at.String())
	cancel()
	if err == nil {
		must(t, conn.Close())
	}
	b.stop()
	tr.stop()
	noLeak(t, leaks)
	end()
	for a := range seen {
		if a != lab.BoxWAN4 && a != provider.Public4[0] {
			t.Errorf("%s used the proxy: neither the box nor the provider", a)
		}
	}
	if !seen[lab.BoxWAN4] {
		t.Error("the box never used the proxy")
	}
}
