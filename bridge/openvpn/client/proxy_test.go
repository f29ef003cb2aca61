package client

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	lines "ztbridge/bridge/lab"
	"ztbridge/bridge/openvpn/ovpntest"
	"ztbridge/bridge/openvpn/profile"
)

// The proxies of these tests run in this process, at the box's own addresses. They alone know the
// server's name, vpn.example.net.
const (
	proxyAt  = boxAddr + ":3128"
	proxyAt6 = "[2001:db8:77::1]:3128"
	server6  = "2001:db8:77::2"
)

// ownNetwork is that of this process.
type ownNetwork struct{ net.Dialer }

func (n *ownNetwork) Dial(ctx context.Context, network, address string) (net.Conn, error) {
	if host, port, err := net.SplitHostPort(address); err == nil && host == "vpn.example.net" {
		address = net.JoinHostPort(serverAddr, port)
	}
	return n.DialContext(ctx, network, address)
}

func (*ownNetwork) Listen(network, address string) (net.Listener, error) {
	return net.Listen(network, address)
}

func (*ownNetwork) ListenPacket(network, address string) (net.PacketConn, error) {
	return net.ListenPacket(network, address)
}

// startProxy runs a proxy; close is its death.
func (l *lab) startProxy(at string, options lines.ProxyOptions) (p *lines.Proxy) {
	l.t.Helper()
	p, err := lines.StartProxy(&ownNetwork{}, netip.MustParseAddrPort(at), options)
	if err != nil {
		l.t.Fatal(err)
	}
	return p
}

// proxyLab serves by both transports.
func proxyLab(t *testing.T) *lab {
	t.Helper()
	l := newLab(t)
	l.sh("ip -6 addr add 2001:db8:77::1/64 dev wan0 nodad")
	l.provider("ip -6 addr add " + server6 + "/64 dev prov0 nodad")
	l.serve("tcp6-server")
	l.serve("udp", "server 10.78.0.0 255.255.255.0")
	return l
}

// proxyNames resolves the proxy's name, and no server's.
func proxyNames(c *Config) {
	c.Resolver = &testResolver{answers: map[string][]netip.Addr{
		"proxy.example.net": {netip.MustParseAddr(boxAddr)}}}
}

var (
	openHTTP  = lines.ProxyOptions{Kind: lines.HTTPProxy}
	guestHTTP = lines.ProxyOptions{Kind: lines.HTTPProxy, User: "room 12", Password: `b"r\ead`}
	openSOCKS = lines.ProxyOptions{Kind: lines.SOCKSProxy}
	guestSOCK = lines.ProxyOptions{Kind: lines.SOCKSProxy, User: "room 12", Password: `b"r\ead`}
	guest     = ovpntest.Inline("http-proxy-user-pass", "room 12\nb\"r\\ead\n")
	stranger  = ovpntest.Inline("http-proxy-user-pass", "room 13\nbread\n")
)

// TestProxies connects by proxies of each kind, and passes packets.
func TestProxies(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	l := proxyLab(t)
	file := filepath.Join(l.dir, "proxy.auth")
	if err := os.WriteFile(file, []byte("room 12\r\nb\"r\\ead\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	files, err := profile.DirFiles(l.dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	const tcp, udp = "remote vpn.example.net 1194 tcp", "remote " + serverAddr + " 1194 udp"
	name, plain := "vpn.example.net:1194", serverAddr+":1194"
	for _, tc := range []struct {
		name    string
		at      string
		options lines.ProxyOptions
		profile []string
		passed  string
	}{
		{"HTTP", proxyAt, openHTTP, []string{tcp, "http-proxy proxy.example.net 3128"}, name},
		{"HTTP by IPv6", proxyAt6, openHTTP, []string{tcp, "http-proxy 2001:db8:77::1 3128"}, name},
		{"HTTP to an IPv6 server", proxyAt, openHTTP, []string{"remote " + server6 + " 1194 tcp",
			"http-proxy proxy.example.net 3128"}, "[" + server6 + "]:1194"},
		{"HTTP with a login", proxyAt, guestHTTP, []string{tcp,
			"http-proxy 192.0.2.1 3128 auto", guest}, name},
		{"HTTP with a login, not told to use it", proxyAt, guestHTTP, []string{tcp,
			"http-proxy 192.0.2.1 3128", guest}, name},
		{"HTTP with basic", proxyAt, guestHTTP, []string{tcp,
			"http-proxy 192.0.2.1 3128 stdin basic", guest}, name},
		{"HTTP with a file", proxyAt, guestHTTP, []string{tcp,
			"http-proxy 192.0.2.1 3128 proxy.auth basic"}, name},
		{"HTTP in a connection", proxyAt, openHTTP, []string{"<connection>\nremote 192.0.2.2 9 " +
			"udp\n</connection>\n<connection>\n" + tcp + "\nhttp-proxy 192.0.2.1 3128\n" +
			"</connection>"}, name},
		{"SOCKS", proxyAt, openSOCKS, []string{tcp, "socks-proxy proxy.example.net 3128"}, name},
		{"SOCKS by IPv6", proxyAt6, openSOCKS, []string{tcp, "socks-proxy 2001:db8:77::1 3128"}, name},
		{"SOCKS to an IPv6 server", proxyAt, openSOCKS, []string{"remote " + server6 + " 1194 tcp",
			"socks-proxy 192.0.2.1 3128"}, "[" + server6 + "]:1194"},
		{"SOCKS with a file", proxyAt, guestSOCK, []string{tcp,
			"socks-proxy 192.0.2.1 3128 proxy.auth"}, name},
		{"SOCKS with a block", proxyAt, guestSOCK, []string{tcp, "socks-proxy 192.0.2.1 3128",
			guest}, name},
		{"SOCKS over UDP", proxyAt, openSOCKS, []string{udp, "socks-proxy proxy.example.net 3128"},
			plain},
		{"SOCKS over UDP with a login", proxyAt, guestSOCK, []string{udp,
			"socks-proxy 192.0.2.1 3128", guest}, plain},
	} {
		t.Log(tc.name)
		proxy := l.startProxy(tc.at, tc.options)
		text := l.profile(tc.profile...)
		p, _, err := profile.Parse([]byte(text), "p", profile.Options{Files: files})
		if err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		c := l.dial(l.profile(udp), func(c *Config) { proxyNames(c); c.Profile = p })
		s := c.awaitGeneration(1)
		c.ping()
		if got := proxy.Tunnels(); len(got) == 0 || got[0] != tc.passed {
			t.Errorf("%s: the proxy passed on to %v, want %s", tc.name, got, tc.passed)
		}
		if !s.Proxy.IsValid() || !strings.Contains(s.Place(), "by the proxy "+s.Proxy.String()) {
			t.Errorf("%s: place %q", tc.name, s.Place())
		}
		for _, line := range c.Log() {
			if strings.Contains(line.Text, `r\ead`) {
				t.Errorf("%s: the log holds the password: %s", tc.name, line.Text)
			}
		}
		c.stop()
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	}
}

// TestProxyFails: what is told of a proxy that fails names the proxy, and no wrong password of the
// provider's account.
func TestProxyFails(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	l := proxyLab(t)
	const tcp = "remote vpn.example.net 1194 tcp"
	http, socks := "http-proxy 192.0.2.1 3128", "socks-proxy 192.0.2.1 3128"
	says := func(kind lines.ProxyKind, answer string) lines.ProxyOptions {
		return lines.ProxyOptions{Kind: kind, Answer: answer}
	}
	only := func(kind lines.ProxyKind) lines.ProxyOptions {
		return lines.ProxyOptions{Kind: kind, Refuse: func(string) bool { return true }}
	}
	for _, tc := range []struct {
		name    string
		options lines.ProxyOptions
		profile []string
		state   State
		cause   string
	}{
		{"wrong login", guestHTTP, []string{http + " auto", stranger}, StateAuthFailed,
			"the proxy refused the user name or password"},
		{"wrong login, basic", guestHTTP, []string{http + " stdin basic", stranger},
			StateAuthFailed, "the proxy refused the user name or password"},
		{"no login", guestHTTP, []string{http}, StateConfigError, "the proxy wants a user name"},
		{"no login, and asked", guestHTTP, []string{http + " auto"}, StateConfigError,
			"the proxy wants a user name"},
		{"not allowed", only(lines.HTTPProxy), []string{http}, StateBackoff, "403 Forbidden"},
		{"a login page", says(lines.HTTPProxy, "HTTP/1.1 302 Found\r\nLocation: /login\r\n\r\n"),
			[]string{http}, StateBackoff, "302 Found"},
		{"garbage", says(lines.HTTPProxy, "\x00\x01hello\r\n\r\n"), []string{http}, StateBackoff,
			"what answers in the place of the proxy is none"},
		{"a lie", says(lines.HTTPProxy, "HTTP/1.1 200 OK\r\n\r\n<html>not the server</html>"),
			[]string{http}, StateBackoff, "nothing comes back by the proxy"},
		{"SOCKS, wrong login", guestSOCK, []string{socks, stranger}, StateAuthFailed,
			"the proxy refused the user name or password"},
		{"SOCKS, no login", guestSOCK, []string{socks}, StateBackoff, "wants a login"},
		{"SOCKS, not allowed", only(lines.SOCKSProxy), []string{socks}, StateBackoff,
			"the proxy refused to connect"},
		{"SOCKS, garbage", says(lines.SOCKSProxy, "HTTP/1.1 400 Bad Request\r\n\r\n"),
			[]string{socks}, StateBackoff, "what answers in the place of the proxy is none"},
		{"HTTP for SOCKS", openHTTP, []string{socks}, StateBackoff, "proxy"},
		{"SOCKS for HTTP", openSOCKS, []string{http}, StateBackoff, "proxy"},
	} {
		t.Log(tc.name)
		proxy := l.startProxy(proxyAt, tc.options)
		c := l.dial(l.profile(append(tc.profile, tcp)...), proxyNames)
		s := c.await("a failure", func(s Status) bool { return s.Failures > 0 })
		if s.State != tc.state || !strings.Contains(s.Cause, tc.cause) || s.Remedy == "" ||
			strings.Contains(s.Remedy, "credentials file") {
			t.Errorf("%s: %s: %q, remedy %q; openvpn said\n%s", tc.name, s.State, s.Cause, s.Remedy,
				c.logText())
		}
		c.stop()
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	}
	// None listens; one comes; it dies and comes back.
	c := l.dial(l.profile(http, tcp), proxyNames)
	s := c.await("a failure", func(s Status) bool { return s.Failures > 0 })
	if !strings.Contains(s.Cause, "nothing listens at the proxy's port") {
		t.Errorf("no proxy: %q\n%s", s.Cause, c.logText())
	}
	for n := range uint64(2) {
		proxy := l.startProxy(proxyAt, openHTTP)
		c.awaitGeneration(n + 1)
		c.ping()
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
		c.await("its loss", func(s Status) bool { return s.State != StateUp })
	}
}

// TestServerBehindProxyFails: what the server says comes through a proxy as it is.
func TestServerBehindProxyFails(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	l := newLab(t)
	check := filepath.Join(l.dir, "check")
	if err := os.WriteFile(check, []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	l.serve("tcp-server", "script-security 2", "auth-user-pass-verify "+check+" via-file")
	var refused atomic.Int32
	proxy := l.startProxy(proxyAt, lines.ProxyOptions{Kind: lines.HTTPProxy, User: "room 12",
		Password: `b"r\ead`, Refuse: func(string) bool { refused.Add(1); return false }})
	t.Cleanup(func() { _ = proxy.Close() })
	c := l.dial(l.profile("remote vpn.example.net 1194 tcp", "auth-user-pass",
		"http-proxy 192.0.2.1 3128 auto", guest), func(c *Config) {
		proxyNames(c)
		c.Credentials = &profile.Credentials{Username: "alice", Password: "wrong"}
	})
	s := c.await("a failure", func(s Status) bool { return s.Failures > 0 })
	if s.State != StateAuthFailed || !strings.Contains(s.Cause, "the server rejected") ||
		refused.Load() == 0 {
		t.Errorf("%s: %q\n%s", s.State, s.Cause, c.logText())
	}
}
