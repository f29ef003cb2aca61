package endpoint_test

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"ztbridge/bridge/lab"
	"ztbridge/bridge/pki"
)

// testProxy lets nothing out of the café but what its HTTP proxy passes on.
func (l *testbed) testProxy() {
	t := l.t
	proxy := l.serveProxy()
	_, profile := l.add(pki.Request{Name: "proxied"})
	// OpenVPN 2 refuses a proxy together with a UDP remote.
	profile = strings.Replace(profile, "remote 203.0.113.1 1194 udp\n", "", 1)
	ns := l.host()
	l.drop(ns, "ip daddr 203.0.113.0/24")
	password := filepath.Join(l.lab.Dir, "proxy")
	must(t, os.WriteFile(password, []byte(proxyUser+"\n"+proxyPassword+"\n"), 0o600))
	p := l.connect(ns, profile, "--http-proxy", proxyAddr.Addr().String(), "3128", password,
		"basic")
	defer p.Stop()
	awaitEcho(t, ns, innerAddr)
	if s, _ := l.session("proxied",
		"tcp/443"); s.Remote.Addr() != netip.MustParseAddr("203.0.113.2") {
		t.Errorf("the client comes from %s, want the proxy", s.Remote)
	}
	if len(proxy.Tunnels()) == 0 {
		t.Error("nothing went through the proxy")
	}
}

// What the café's proxy asks for.
const proxyUser, proxyPassword = "room 12", "breakfast"

// serveProxy runs a proxy in the café until the lab ends.
func (l *testbed) serveProxy() *lab.Proxy {
	l.t.Helper()
	proxy, err := lab.ServeProxy(l.café, proxyAddr, proxyUser, proxyPassword)
	must(l.t, err)
	l.lab.Defer(proxy.Close)
	return proxy
}
