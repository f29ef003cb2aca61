package e2e

import (
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// arrival is a message that arrived at the site.
type arrival struct {
	path, from string
	body       struct {
		Title  string
		Events []struct{ Event, State, Subject string }
	}
}

// TestMessagesKeepToTheirPath kills the tunnel: the message about it arrives from the box's own
// address, as configured. What is to leave by the tunnel leaves by nothing else, names included,
// and no client's packet leaks meanwhile.
func TestMessagesKeepToTheirPath(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	arrivals := make(chan arrival, 100)
	l, err := top.Internet.Listen("tcp", net.JoinHostPort(lab.HostTarget4.String(), "8088"))
	must(t, err)
	server := &http.Server{ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(
		func(_ http.ResponseWriter, r *http.Request) {
			a := arrival{path: r.URL.Path}
			a.from, _, _ = net.SplitHostPort(r.RemoteAddr)
			if err := json.NewDecoder(r.Body).Decode(&a.body); err != nil {
				t.Error(err)
			}
			arrivals <- a
		})}
	go func() { _ = server.Serve(l) }()
	t.Cleanup(func() { _ = server.Close() })
	top.Zone.Set("hook.lab", lab.HostTarget4)
	top.Zone.Set("inner.lab", lab.HostTarget4)
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("ntfy.token", "tk_5ecret\n")
	b.write("ztbridge.yaml", gatewayConfig+`
notify:
  down_after: 1s
  webhook: {url: "http://hook.lab:8088/hook"}
  ntfy: {url: "http://inner.lab:8088/topic", token_file: ntfy.token, by: provider}
`)
	leaks, err := top.WatchLeaks()
	must(t, err)
	outside, err := top.Router.Capture(top.WANSegment.Port(top.Box, lab.WANIface), netlab.Any(
		netlab.Carrying("inner.lab"), netlab.Carrying("\x05inner\x03lab"),
		netlab.Carrying("tk_5ecret")))
	must(t, err)
	b.start()
	_, err = top.ClientStream(lab.UDP, lab.IPv4, 50)
	must(t, err)
	b.await("the tunnel", func(st api.Status) bool {
		return len(st.Egresses) == 1 && st.Egresses[0].State == "up"
	})

	b.mustRun("notify", "test")
	sources := map[string]string{}
	for range 2 {
		a := <-arrivals
		sources[a.path] = a.from
	}
	if inner, own := top.Providers[0].Public4[0].String(), lab.BoxWAN4.String(); sources["/"] !=
		inner || sources["/hook"] != own {
		t.Errorf("test messages came from %v, want / from %s, /hook from %s", sources, inner, own)
	}

	top.Providers[0].Kill()
	for told := false; !told; {
		select {
		case a := <-arrivals:
			if a.path != "/hook" || a.from != lab.BoxWAN4.String() {
				t.Errorf("a message came from %s: %+v", a.from, a)
			}
			for _, e := range a.body.Events {
				told = told || e.Event == "down" && e.State == "began" && e.Subject == "provider"
			}
		case <-time.After(60 * time.Second):
			t.Fatal("nobody tells that the tunnel is down")
		}
	}
	t.Logf("the daemon that has sent messages: %.1f MB resident, %.1f MB of its own", mb(b.rss()),
		mb(b.memory("RssAnon")))
	for what, c := range map[string]*netlab.Capture{"clients' packets": leaks,
		"what is to leave by the tunnel alone": outside} {
		must(t, c.Stop())
		seen, err := c.Result()
		must(t, err)
		if seen.Matched != 0 || seen.Seen == 0 {
			t.Errorf("%s on the WAN: %d of %d packets", what, seen.Matched, seen.Seen)
		}
	}
	st, err := b.status()
	must(t, err)
	text, err := json.Marshal(st)
	must(t, err)
	if all := string(text) + b.mustRun("config", "show"); strings.Contains(all, "tk_5ecret") {
		t.Error("the token is shown")
	}
}
