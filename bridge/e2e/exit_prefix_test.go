package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
	"ztbridge/bridge/lab"
)

// TestPrefixThatCannotWork: a prefix for members' IPv6 that the provider does not send to this box
// is found out by trying, one that is wrong in itself by looking, and both are said.
func TestPrefixThatCannotWork(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	onLink, routed := "2001:db8:b0:0:8000::", "2001:db8:ffff:1:8000::"
	member := netip.MustParseAddr(routed + "2")
	must(t, top.Box.IP("addr add "+onLink+"1/80 dev ing0 nodad",
		"addr add "+routed+"1/80 dev ing0 nodad"))
	must(t, top.Client.IP("addr add "+routed+"2/80 dev eth0 nodad"))
	b := newBox(t, top.Box)
	use := func(ipv6 string) {
		b.write("ztbridge.yaml", fmt.Sprintf(`
ingress: [ing0]
egress:
  direct: {wan: {ipv6: %s}}
policy: [{egress: [direct]}]
probe: {targets: [192.0.2.10, "2001:db8:c0::10"], hold_down: 2s}
`, ipv6))
		if b.daemon != nil {
			must(t, b.daemon.Signal(reloadSignal))
		}
	}
	said := func(what string) {
		t.Helper()
		began := time.Now()
		st := b.await("the word of "+what, func(st api.Status) bool {
			c, ok := condition(st, health.PrefixUnusable)
			return ok == (what != "") && strings.Contains(c.Message, what)
		})
		if c, ok := condition(st, health.PrefixUnusable); ok {
			t.Logf("after %s: %s; remedy: %s", time.Since(began).Round(time.Millisecond), c.Message,
				c.Remedy)
		}
	}
	verdicts := func(word string) int { return strings.Count(b.daemon.Log(), "to="+word) }

	use(`{prefix: "` + onLink + `/80"}`)
	b.start()
	b.await("the verdict that an on-link prefix works",
		func(api.Status) bool { return verdicts("works") == 1 })
	said("")

	use(`{prefix: "` + routed + `/80", ndp: false}`)
	said("do not come back")
	must(t, top.Router.IP("route add "+routed+"/80 via "+lab.BoxWAN6.String()))
	said("")
	stream, err := lab.StartStream(lab.StreamConfig{
		From: top.Client, Kind: lab.UDP, To: targetOf(
			lab.ClientTarget6), Rate: 50, Marker: top.Marker, Source: member,
	})
	must(t, err)
	awaitAnswers(t, stream, 20)
	onlySeenAs(t, "the member", stream, member)

	use(`{prefix: "` + onLink + `/80", ndp: false}`)
	said("nobody answers")
	use(`{prefix: "2001:db8:b0::/64"}`)
	said("holds the address of wan0")
	use(`{prefix: "2001:db8:b0:0:4000::/80"}`)
	said("no device can have an address")
	use(`{prefix: "` + onLink + `/80"}`)
	said("")
	b.sh("ip -6 route del default")
	said("no IPv6 default route")
	if out, err := top.Client.Run(t.Context(), "ping", "-6", "-c1", "-W3", "-I", routed+"2",
		lab.ClientTarget6.String()); err == nil ||
		!strings.Contains(strings.ToLower(out), "unreachable") {
		t.Errorf("with no IPv6 on the WAN: not refused: %s", out)
	}
}
