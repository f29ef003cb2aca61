package policyroute_test

import (
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"

	"ztbridge/policyroute"
	"ztbridge/policyroute/policytest"
)

// expected reads policy in the plainest way: where does a first packet of a client go now?
func expected(in policyroute.Intent, g policyroute.Ingress, src, dst netip.Addr) string {
	holds := func(ps []netip.Prefix, a netip.Addr) bool {
		return slices.ContainsFunc(ps, func(p netip.Prefix) bool { return p.Contains(a) })
	}
	for _, to := range in.Ingresses {
		if holds(to.Prefixes, dst) {
			switched := g.Switches && to.Iface == g.Iface && !slices.ContainsFunc(in.Egresses,
				func(e policyroute.Egress) bool { return e.Iface == g.Iface })
			if to.Present && switched {
				return to.Iface
			}
			if to.Present && slices.Contains(in.Peerings,
				policyroute.Peering{From: g.Name, To: to.Name}) {
				return to.Iface
			}
			return ""
		}
	}
	for _, p := range in.Policies {
		speaks := (len(p.Ingress) == 0 || slices.Contains(p.Ingress, g.Name)) &&
			(len(p.From) == 0 || holds(p.From, src)) && (len(p.To) == 0 || holds(p.To, dst))
		if !speaks {
			continue
		}
		for _, e := range in.Egresses {
			unroutable := !e.Present || dst.Is4() && e.NoIPv4 || dst.Is6() && !e.IPv6 ||
				e.Kind == policyroute.EgressPeer && dst.Is6() ||
				holds(e.Closed, dst)
			if e.Name == p.UseOf(policyroute.FamilyOf(dst)) && !unroutable {
				return e.Iface
			}
		}
		return ""
	}
	return ""
}

// Packets must not only stay off wrong ways: each must take the right one, whether the rules are
// listed or a tree.
func TestFirstMatchIsExact(t *testing.T) {
	r := rand.New(rand.NewPCG(policytest.Seed(t), 2))
	for range 40 {
		checkExact(t, policytest.Random(r))
	}
	checkExact(t, policytest.Many(150, 1))
}

func checkExact(t *testing.T, in policyroute.Intent) {
	t.Helper()
	tree, err := policyroute.Tree(in)
	if err != nil {
		t.Fatal(err)
	}
	for kind, s := range map[string]policyroute.State{"compiled": compile(t, in), "tree": tree} {
		left := map[string]bool{}
		for _, f := range policyroute.Families {
			sources, destinations := policyroute.Samples(f, in)
			for _, g := range in.Ingresses {
				for i, src := range sources {
					for j, dst := range destinations {
						if len(sources) > 50 && (i+j)%11 != 0 {
							continue
						}
						want := expected(in, g, src, dst)
						got, _ := policyroute.Journey(s, g.Iface, src, dst, "udp", 4000)
						left[got] = true
						if got != want {
							t.Fatalf("%s: %s → %s by %s leaves by %q, want %q\n%+v", kind, src, dst,
								g.Iface, got, want, in)
						}
					}
				}
			}
		}
	}
}

func TestDNSFollowsTheEgress(t *testing.T) {
	src, member := netip.MustParseAddr("10.147.17.50"), netip.MustParseAddr("10.147.17.9")
	google := netip.MustParseAddr("8.8.8.8")
	backup := policytest.Uno()
	backup.Policies[0].Use = "backup"
	noResolver := policytest.Uno()
	noResolver.Egresses[0].DNS = nil
	forwarder := policytest.Uno()
	forwarder.Egresses[0].ResolverPort = 5353
	closed := policytest.Exit()
	for i := range closed.Egresses {
		closed.Egresses[i].DNS = []netip.Addr{netip.MustParseAddr("192.168.1.1")}
	}
	down := policytest.Uno()
	down.Policies[0].Use = ""
	tests := []struct {
		name     string
		in       policyroute.Intent
		iif      string
		src, dst netip.Addr
		dev, to  string
	}{
		{"to the resolver in use", policytest.Uno(), policytest.Ingress0, src, google,
			policytest.Tunnel0, "10.8.0.1"},
		{"to the other after a failover", backup, policytest.Ingress0, src, google,
			policytest.Tunnel1, "1.1.1.1"},
		{"left alone without a resolver", noResolver, policytest.Ingress0, src, google,
			policytest.Tunnel0, "8.8.8.8"},
		{"to the box's own forwarder", forwarder, policytest.Ingress0, src, google, "", "8.8.8.8"},
		{"refused when nothing is up", down, policytest.Ingress0, src, google, "", "8.8.8.8"},
		{"a member's own server is left alone", policytest.Uno(), policytest.Ingress0, src, member,
			"", "10.147.17.9"},
		{"in spite of a policy about the resolver's address", policytest.Duo(), policytest.Ingress0,
			src, google, policytest.Tunnel0, "10.8.0.1"},
		{"to a resolver in a network that the egress closes", closed, policytest.Ingress0, src,
			google, policytest.WAN, "192.168.1.1"},
		{"to another member that is the egress", policytest.Dinosaur(), policytest.Ingress1,
			netip.MustParseAddr("10.9.0.5"), google, policytest.Ingress0, "10.147.17.2"},
	}
	for _, test := range tests {
		for _, proto := range []string{"udp", "tcp"} {
			t.Run(test.name+"/"+proto, func(t *testing.T) {
				dev, to := policyroute.Journey(compile(t, test.in), test.iif, test.src, test.dst,
					proto, 53)
				if dev != test.dev || to.String() != test.to {
					t.Errorf("leaves by %q for %s, want %q for %s", dev, to, test.dev, test.to)
				}
			})
		}
	}
	// The privilege is DNS' alone.
	if dev, _ := policyroute.Journey(compile(t, closed), policytest.Ingress0, src,
		netip.MustParseAddr("192.168.1.1"), "tcp", 443); dev != "" {
		t.Errorf("the resolver's other services are reached by %s", dev)
	}
	if dev, _ := policyroute.Journey(compile(t, policytest.Duo()), policytest.Ingress0, src,
		netip.MustParseAddr("10.8.0.1"), "tcp", 443); dev != "" {
		t.Errorf("the blocked network is reached by %s", dev)
	}
}

// TestGatewayIsHeardNotReached has a WAN whose gateway lies in a network that is closed, as at home
// behind a router.
func TestGatewayIsHeardNotReached(t *testing.T) {
	src, gateway := netip.MustParseAddr("10.147.17.50"), netip.MustParseAddr("192.168.1.254")
	for name, dns := range map[string][]netip.Addr{"": nil, "/is the resolver": {gateway}} {
		t.Run("closed"+name, func(t *testing.T) {
			in := policytest.Exit()
			for i := range in.Egresses {
				if in.Egresses[i].Kind == policyroute.EgressWAN {
					in.Egresses[i].Gateway4, in.Egresses[i].DNS = gateway, dns
				}
			}
			s := compile(t, in)
			heard := 0
			for _, r := range s.Routes {
				if r.Dst == netip.PrefixFrom(gateway, 32) && r.Type == policyroute.Unicast &&
					r.Dev == policytest.WAN && r.Gateway == gateway {
					heard++
				}
			}
			if heard != 1 {
				t.Errorf("a reverse-path check finds %d ways to the gateway, want 1", heard)
			}
			if dev, _ := policyroute.Journey(s, policytest.Ingress0, src, gateway, "tcp",
				443); dev != "" {
				t.Errorf("a client reaches the gateway by %s", dev)
			}
			if err := policyroute.LeakFree(s, in); err != nil {
				t.Error(err)
			}
			if err := policyroute.EscapeFree(s.Without(policyroute.LayerFilter), in); err != nil {
				t.Error(err)
			}
		})
	}
}
