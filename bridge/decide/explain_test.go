package decide

import (
	"net/netip"
	"testing"

	"ztbridge/policyroute"
)

// Of ingresses whose prefixes overlap, the one with the longest prefix has an address, whichever
// comes first.
func TestExplainTellsTheRightIngress(t *testing.T) {
	prefixes := func(s string) []netip.Prefix { return []netip.Prefix{netip.MustParsePrefix(s)} }
	in := policyroute.Intent{
		Ingresses: []policyroute.Ingress{
			{Name: "lan", Iface: "eth1", Prefixes: prefixes("10.0.0.0/8")},
			{Name: "endpoint", Iface: "tunztb.udp1194", Prefixes: prefixes("10.88.0.0/24")}},
		Policies: []policyroute.Policy{{Name: "rule", Ingress: []string{"endpoint"},
			To: prefixes("198.51.100.9/32")}},
	}
	for addr, want := range map[string]string{"10.88.0.7": "endpoint", "10.1.0.7": "lan"} {
		a := netip.MustParseAddr(addr)
		e, err := Explainer{Intent: in}.Explain(a)
		if err != nil || e.Ingress != want || IngressOf(in, a) != want {
			t.Errorf("%s enters by %q, %q, want %q (%v)", addr, e.Ingress, IngressOf(in, a), want,
				err)
		}
	}
	if got := IngressOf(in, netip.MustParseAddr("192.0.2.1")); got != "" {
		t.Errorf("an address of nobody enters by %q", got)
	}
}
