package e2e

import (
	"slices"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
)

// TestEndpointClientOptions adds clients with each option of the command and looks at what the
// endpoint pushes to them. Then one is disconnected by command, and comes back.
func TestEndpointClientOptions(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("ztbridge.yaml", duoConfig)
	b.start()
	b.awaitEgress("provider")
	for _, c := range []struct {
		name        string
		options     []string
		full, asked bool // everything through the tunnel; a resolver is pushed
		address     string
	}{
		{"plain", nil, true, true, ""},
		{"own-dns", []string{"--dns=false"}, true, false, ""},
		{"network-only", []string{"--tunnel", "zerotier"}, false, true, ""},
		{"bare", []string{"--tunnel", "zerotier", "--dns=false", "--expires", "90d"}, false, false,
			""},
		// Asked for by its address at the other listener.
		{"fixed", []string{"--address", "10.83.68.77"}, true, true, "10.83.64.77"},
	} {
		site, err := top.AddSite(c.name)
		must(t, err)
		g := &guest{t: t, name: c.name, ns: site.NS}
		b.mustRun(append([]string{"client", "add", c.name}, c.options...)...)
		g.connect(b, "udp")
		_, push, _ := strings.Cut(g.proc.Log(), "PUSH_REPLY,")
		push, _, _ = strings.Cut(push, "\n")
		if strings.Contains(push, "redirect-gateway def1 ipv6") != c.full ||
			strings.Contains(push, "dhcp-option DNS") != c.asked {
			t.Errorf("%s: full tunnel %v, resolver %v wanted; pushed: %s", c.name, c.full, c.asked,
				push)
		}
		if c.address != "" && g.addr4.String() != c.address {
			t.Errorf("%s has the address %s, want %s", c.name, g.addr4, c.address)
		}
	}
	if list, want := b.mustRun("client", "list"),
		time.Now().AddDate(0, 0, 90).UTC().Format(time.DateOnly); !strings.Contains(list, want) {
		t.Errorf("no client expires on %s:\n%s", want, list)
	}

	since := func(st api.Status) time.Time {
		i := slices.IndexFunc(st.Clients, func(c api.Client) bool { return c.Name == "plain" })
		if i < 0 {
			return time.Time{}
		}
		return st.Clients[i].Since
	}
	st, err := b.status()
	must(t, err)
	before := since(st)
	b.mustRun("client", "disconnect", "plain")
	b.await("the client to be back", func(st api.Status) bool { return since(st).After(before) })
}
