package policyroute_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"

	"ztbridge/policyroute"
	"ztbridge/policyroute/policytest"
)

func TestExplain(t *testing.T) {
	down := policytest.Uno()
	down.Policies[0].Use = ""
	second := policytest.Uno()
	second.Policies[0].Use = "backup"
	tests := []struct {
		name                       string
		in                         policyroute.Intent
		src, dst, ingress          string
		policy, egress, steer, why string
		lastRule                   string
	}{
		{"first of the list", policytest.Uno(), "10.147.17.50", "8.8.8.8", "zerotier",
			"policy[0]", "provider", "10.8.0.1", "it is the first",
			"priority 15100 iif ztlab0 lookup 23118"},
		{"in place of another", second, "10.147.17.50", "8.8.8.8", "zerotier",
			"policy[0]", "backup", "1.1.1.1", "in place of provider",
			"priority 15100 iif ztlab0 lookup 23118"},
		{"IPv6 that the egress has not", second, "fd80:56c2:e21c::5", "2606:4700::1111", "zerotier",
			"policy[0]", "", "", "as backup carries no IPv6",
			"priority 15100 iif ztlab0 lookup 23118"},
		{"nothing usable", down, "10.147.17.50", "8.8.8.8", "zerotier",
			"policy[0]", "", "", "none of these is connected: provider, backup",
			"priority 15100 iif ztlab0 lookup 23118"},
		{"blocked destination", policytest.Duo(), "10.9.0.5", "192.168.1.1", "endpoint",
			"policy[0]", "", "10.8.0.1", "policy[0] blocks", "lookup 23155"},
		{"member by peering", policytest.Duo(), "10.9.0.5", "10.147.17.9", "endpoint",
			"", "", "10.8.0.1", "which endpoint may reach",
			"priority 15000 iif tunztbsrv lookup 23100"},
		{"member the other way", policytest.Duo(), "10.147.17.9", "10.9.0.5", "zerotier",
			"", "", "10.8.0.1", "replies only", "lookup 23100"},
		{"blocked source", policytest.Exit(), "10.147.17.66", "8.8.8.8", "zerotier",
			"policy[0]", "", "", "policy[0] blocks",
			"priority 15100 from 10.147.17.66/32 iif ztlab0 lookup 23155"},
		{"unknown source", policytest.Exit(), "192.0.2.1", "8.8.8.8", "zerotier",
			"", "", "", "no rule of the policy covers this address",
			"priority 15900 iif ztlab0 unreachable"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			x, err := policyroute.Explain(test.in, netip.MustParseAddr(test.src),
				netip.MustParseAddr(test.dst), test.ingress)
			if err != nil {
				t.Fatal(err)
			}
			if x.Policy != test.policy || x.Egress != test.egress || x.Steer != test.steer ||
				!strings.Contains(x.Reason, test.why) {
				t.Errorf("got %+v", x)
			}
			if len(x.Rules) == 0 || !strings.HasSuffix(x.Rules[len(x.Rules)-1], test.lastRule) {
				t.Errorf("rules %q, want the last to be %q", x.Rules, test.lastRule)
			}
		})
	}
}

func TestExplainRefusesNonsense(t *testing.T) {
	v4, v6 := netip.MustParseAddr("10.147.17.5"), netip.MustParseAddr("fd00::1")
	for _, test := range []struct {
		src, dst netip.Addr
		ingress  string
	}{{v4, v6, "zerotier"}, {v4, v4, "nowhere"}} {
		if _, err := policyroute.Explain(policytest.Uno(), test.src, test.dst,
			test.ingress); !errors.Is(err, policyroute.ErrIntent) {
			t.Errorf("%s → %s by %s: %v", test.src, test.dst, test.ingress, err)
		}
	}
}
