package kernel

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"ztbridge/policyroute"
)

// One way out that the kernel refuses takes no other along, and leaves nothing in its place that leads elsewhere.
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
		want.Routes = append(want.Routes, policyroute.Route{Family: policyroute.V4, Table: 23103, Dst: prefix("0.0.0.0/0"), Metric: 100, Dev: "tunztb0"})
		want.Rules = append(want.Rules, policyroute.Rule{Family: policyroute.V4, Priority: 15030, IIF: "lan", Action: policyroute.Lookup, Table: 23103})
		want.Normalize()
		have, err := k.Observe()
		if err != nil {
			t.Error(err)
		}
		err = k.Apply(context.Background(), policyroute.Diff(have, want))
		partial, ok := errors.AsType[*PartialError](err)
		if !ok || len(partial.Failed) != 2 || !strings.Contains(err.Error(), "via 192.0.2.2") || !strings.Contains(err.Error(), "via 2001:db8::2") {
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
