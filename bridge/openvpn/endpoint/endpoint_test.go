package endpoint_test

import (
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ztbridge/bridge/pki"
)

func TestEndpoint(t *testing.T) {
	l := newLab(t)
	t.Run("UDP", l.testUDP)
}

// testUDP connects with the profile as it is printed, and looks at everything the client was given.
func (l *lab) testUDP(t *testing.T) {
	c, profile := l.add(pki.Request{Name: "udp"})
	ns := l.host()
	p := l.connect(ns, profile)
	defer p.Stop()
	awaitEcho(t, ns, innerAddr)
	awaitEcho(t, ns, inner6)
	s, ok := l.session("udp", "udp/1194")
	if !ok {
		t.Fatalf("not in the status: %+v", l.status())
	}
	listeners, err := testListeners()
	must(t, err)
	want, err := listeners[0].Pool.Client(c.Host)
	must(t, err)
	if !slices.Equal(s.Addrs, want) {
		t.Errorf("addresses %v, want %v", s.Addrs, want)
	}
	if s.Remote.Addr() != netip.MustParseAddr("10.9.0.11") || !strings.HasPrefix(s.Program, "2.") {
		t.Errorf("remote %v, program %q", s.Remote, s.Program)
	}
	out, err := ns.Run(t.Context(), "ip", "-br", "addr", "show", "dev", "tun0")
	must(t, err)
	for _, a := range want {
		if !strings.Contains(out, a.String()+"/") {
			t.Errorf("the client's addresses are %s, want %v", out, want)
		}
	}
}
