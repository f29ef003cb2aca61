package kernel

import (
	"net"
	"testing"

	"github.com/vishvananda/netlink"

	"ztbridge/policyroute/policytest"
)

// What began while no filter translated it is known by showing the client's own address outside.
func TestUntranslatedFlows(t *testing.T) {
	f := Flows{Untranslated: policytest.Prefixes("10.147.17.0/24", "fd80:56c2:e21c::/88")}
	flow := func(src, dst, answerer, translated string) *netlink.ConntrackFlow {
		out := &netlink.ConntrackFlow{}
		out.Forward.SrcIP, out.Forward.DstIP = net.ParseIP(src), net.ParseIP(dst)
		out.Reverse.SrcIP, out.Reverse.DstIP = net.ParseIP(answerer), net.ParseIP(translated)
		return out
	}
	for name, tt := range map[string]struct {
		flow *netlink.ConntrackFlow
		want bool
	}{
		"untranslated":         {flow("10.147.17.50", "8.8.8.8", "8.8.8.8", "10.147.17.50"), true},
		"untranslated IPv6":    {flow("fd80:56c2:e21c::5", "2606::1", "2606::1", "fd80:56c2:e21c::5"), true},
		"translated":           {flow("10.147.17.50", "8.8.8.8", "8.8.8.8", "10.8.0.6"), false},
		"between members":      {flow("10.147.17.50", "10.147.17.9", "10.147.17.9", "10.147.17.50"), false},
		"steered to the box":   {flow("10.147.17.50", "8.8.8.8", "10.147.17.1", "10.147.17.50"), false},
		"the box's own":        {flow("203.0.113.2", "8.8.8.8", "8.8.8.8", "203.0.113.2"), false},
		"from outside, inward": {flow("8.8.8.8", "10.147.17.50", "10.147.17.50", "8.8.8.8"), false},
	} {
		if got := f.MatchConntrackFlow(tt.flow); got != tt.want {
			t.Errorf("%s: cut %v, want %v", name, got, tt.want)
		}
	}
}
