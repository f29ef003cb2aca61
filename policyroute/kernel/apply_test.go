package kernel

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"ztbridge/policyroute"
)

// One way out that the kernel refuses takes no other along, and leaves nothing in its place that
// leads elsewhere.
func TestImpossibleRouteStopsNothingElse(t *testing.T) {
	needs(t, "ip", "nft", "iptables")
	record := filepath.Join(t.TempDir(), "record.json")
	inNamespace(t, func() {
		host(t)
		k := open(t, record)
		reach(t, k, sample())

		want := sample()
		for i, r := range want.Routes {
			if r.Dev == "wan" && r.Family == policyroute.V4 {
				want.Routes[i].Gateway = addr("192.0.2.2") // the box's own
			}
			if r.Dev == "wan" && r.Family == policyroute.V6 {
				want.Routes[i].Gateway = addr("2001:db8::2")
			}
		}
		want.Routes = append(want.Routes, policyroute.Route{Family: policyroute.V4, Table: 23103,
			Dst: prefix("0.0.0.0/0"), Metric: 100, Dev: "tunztb0"})
		want.Rules = append(want.Rules, policyroute.Rule{Family: policyroute.V4, Priority: 15030,
			IIF: "lan", Action: policyroute.Lookup, Table: 23103})
		want.Normalize()
		err := attempt(t, k, want)
		partial, ok := errors.AsType[*PartialError](err)
		if !ok || len(partial.Failed) != 2 || !strings.Contains(err.Error(), "via 192.0.2.2") ||
			!strings.Contains(err.Error(), "via 2001:db8::2") {
			t.Errorf("Apply: %v, want a PartialError that names the two routes", err)
		}
		var possible []policyroute.Route
		for _, r := range want.Routes {
			if r.Dev != "wan" {
				possible = append(possible, r)
			}
		}
		want.Routes = possible
		reached(t, k, want)
	})
}

// A device that cannot be given its address is no way out: packets would leave it with the address
// of another one.
func TestNoRouteWithoutAddress(t *testing.T) {
	needs(t, "ip", "nft", "iptables")
	record := filepath.Join(t.TempDir(), "record.json")
	inNamespace(t, func() {
		host(t)
		k := open(t, record)
		want := sample()
		want.Links[0].Addrs[1] = prefix("ff02::8/64") // which the kernel refuses
		err := attempt(t, k, want)
		partial, ok := errors.AsType[*PartialError](err)
		if !ok || len(partial.Failed) != 2 || !strings.Contains(err.Error(),
			"ip -6 addr add ff02::8/64") || !strings.Contains(err.Error(), "lacks an address") {
			t.Errorf("Apply: %v, want a PartialError that names the address and the route", err)
		}
		if left := sh(t, "ip -6 route show table 23102"); strings.Contains(left, "tunztb0") {
			t.Errorf("there is a way out by the device:\n%s", left)
		}
		if there := sh(t, "ip route show table 23102"); !strings.Contains(there, "tunztb0") {
			t.Errorf("IPv4 has suffered along:\n%s", there)
		}
	})
}

// Accepts that cannot be taken out of iptables are told apart from those that cannot be put there.
func TestAcceptsLeftBehind(t *testing.T) {
	needs(t, "ip", "nft", "iptables")
	record := filepath.Join(t.TempDir(), "record.json")
	inNamespace(t, func() {
		host(t)
		k := open(t, record)
		reach(t, k, sample())
		stub(t, `exec $real "$@"`, "exit 2")
		k.ipt.wait(passSeconds) // finds the stub
		more, less, none := sample(), sample(), sample()
		none.IPTables = nil
		for i, c := range sample().IPTables {
			more.IPTables[i].Rules = append(slices.Clone(c.Rules), "-i lo -j ACCEPT")
			less.IPTables[i].Rules = c.Rules[1:]
		}
		for name, tt := range map[string]struct {
			want policyroute.State
			left bool
		}{"one more": {more, false}, "one less": {less, true}, "none": {none, true}} {
			err := attempt(t, k, tt.want)
			if !errors.Is(err, ErrNoIPTables) || errors.Is(err, ErrAcceptsLeft) != tt.left {
				t.Errorf("%s: %v, want ErrAcceptsLeft: %v", name, err, tt.left)
			}
		}
	})
}
