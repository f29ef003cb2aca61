package web

import (
	"context"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
)

// box is a daemon whose status a test sets.
type box struct {
	mu       sync.Mutex
	status   api.Status
	watchers []chan struct{}
	did      []string
	// device is who the sender is; nil: identify says why it is not known.
	device   *api.Identity
	identify error
	asked    []api.Sender
}

func (b *box) Status() api.Status {
	b.mu.Lock()
	defer b.mu.Unlock()
	s := b.status
	s.Time = time.Now()
	return s
}

// set changes the status, as a pass of the daemon does.
func (b *box) set(s api.Status) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.status = s
	for _, c := range b.watchers {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

func (b *box) Changes(context.Context) <-chan struct{} {
	c := make(chan struct{}, 1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watchers = append(b.watchers, c)
	return c
}

func (b *box) Explain(addr netip.Addr) (api.Explanation, error) {
	return api.Explanation{Address: addr, Egress: b.Status().Policies[1].Egress}, nil
}

func (b *box) Plan(context.Context) (string, error) { return "", nil }

// note remembers what the box was told to do.
func (b *box) note(what string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.did = append(b.did, what)
	return nil
}

func (b *box) Use(_ context.Context, egress string) error {
	if !slices.ContainsFunc(b.Status().Egresses,
		func(e api.Egress) bool { return e.Name == egress }) {
		return fmt.Errorf("choosing egress %q: %w", egress, api.ErrNotFound)
	}
	return b.note("use " + egress)
}

func (b *box) Reset(context.Context) error        { return b.note("reset") }
func (b *box) Reload(context.Context) error       { return b.note("reload") }
func (b *box) ForgetReload(context.Context) error { return b.note("keep") }

func (b *box) Disconnect(_ context.Context, client string) (int, error) {
	return 1, b.note("disconnect " + client)
}

func addrs(list ...string) []netip.Addr {
	var out []netip.Addr
	for _, a := range list {
		out = append(out, netip.MustParseAddr(a))
	}
	return out
}

// testStart keeps what is shown the same from one status to the next.
var testStart = time.Now()

// working is a box with two networks and three exits on a good day.
func working() api.Status {
	now := testStart
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	return api.Status{
		Version: "1.2.3", Time: now, Started: ago(76 * time.Hour), State: api.Working,
		Summary: "Working: every device leaves as configured.",
		WAN:     api.WAN{Up: true, Interface: "eth0", Addresses: addrs("192.168.1.20")},
		Networks: []api.Network{{ID: "abcdef0123000001", Name: "home", Title: "home", Status: "ok",
			Member: "a1b2c3d4e5"}},
		Ingresses: []api.Ingress{
			{Name: "home", Kind: "zerotier", Interface: "ztabcdefgh", State: "up",
				Goes: []api.Assignment{
					{Rule: "policy[0]", From: "10.147.17.66", Why: "blocked"},
					{Rule: "policy[1]", From: "zerotier", Egress: "provider", IPv6: true}},
				LastChange: api.Change{At: ago(76 * time.Hour), What: "absent → up",
					Cause: "the interface appeared"}},
			{Name: "endpoint", Kind: "endpoint", Interface: "tunztb-udp1194", State: "up",
				Goes: []api.Assignment{{Rule: "policy[1]", From: "endpoint", Egress: "provider"}}},
		},
		Egresses: []api.Egress{
			{Name: "provider", Kind: "openvpn", State: "up", Usable: true, Since: ago(3 * time.Hour),
				Interface: "tunztb0", Remote: "udp 203.0.113.5:1194", RTT: 0.0184,
				ExitAddresses: []api.ExitAddress{{Address: netip.MustParseAddr("203.0.113.77"),
					Country: "NL"}},
				Counters: api.Counters{BytesIn: 1 << 30, BytesOut: 1 << 27},
				LastChange: api.Change{At: ago(3 * time.Hour), What: "connecting → up",
					Cause: "the server answered"}},
			{Name: "backup", Kind: "openvpn", State: "up", Usable: true, Since: ago(75 * time.Hour),
				Interface: "tunztb1", Remote: "tcp 203.0.113.9:443", RTT: 0.0312,
				ExitAddresses: []api.ExitAddress{{Address: netip.MustParseAddr("198.51.100.80"),
					Country: "CH"}},
				LastChange: api.Change{At: ago(75 * time.Hour), What: "connecting → up"}},
			{Name: "direct", Kind: "wan", State: "up", Usable: true, Since: ago(76 * time.Hour),
				Remote: "192.168.1.1", RTT: 0.009},
		},
		Policies: []api.Policy{
			{Name: "policy[0]", From: []string{"10.147.17.66"}, Since: ago(76 * time.Hour),
				Why: "blocked"},
			{Name: "policy[1]", From: []string{"zerotier", "endpoint"}, Egress: "provider",
				Wanted: []string{"provider", "backup"}, Since: ago(3 * time.Hour),
				Why: "first choice"},
		},
		Clients: []api.Client{
			{Name: "phone", Remote: "192.0.2.44:51234", Listener: "udp/1194",
				Addresses: addrs("10.83.64.9"), Since: ago(40 * time.Minute)},
			{Name: "laptop", Remote: "192.0.2.80:40000", Listener: "udp/1194",
				Addresses: addrs("10.83.64.10"), Since: ago(6 * time.Hour)},
		},
	}
}

// onBackup is the same box after the provider's server has gone.
func onBackup() api.Status {
	s := working()
	now := time.Now()
	s.State, s.Summary = api.Degraded, "Working, but on a backup exit."
	s.Egresses[0].State, s.Egresses[0].Usable, s.Egresses[0].RTT = "reconnecting", false, 0
	s.Egresses[0].ExitAddresses = nil
	s.Egresses[0].LastChange = api.Change{At: now, What: "up → reconnecting",
		Cause: "two probes unanswered"}
	s.Policies[1].Egress, s.Policies[1].Since = "backup", now
	s.Policies[1].Why = "provider is down"
	for i := range s.Ingresses {
		last := len(s.Ingresses[i].Goes) - 1
		s.Ingresses[i].Goes[last].Egress = "backup"
	}
	s.Conditions = []api.Condition{{Code: health.TunnelReconnecting, Subject: "provider",
		Severity: health.Warning, Since: now, Message: "provider: the server does not answer",
		Remedy:  "nothing, if it comes back; else ask the provider",
		Command: "ztbridge config try /etc/ztbridge/provider.ovpn"}}
	return s
}

const ownerPassword, viewerPassword = "correct horse battery", "just looking around"

// served is a page with both roles' passwords, on loopback.
func served(t *testing.T, of api.Backend) (*Server, *httptest.Server) {
	t.Helper()
	s := New(Config{Backend: of, Dir: t.TempDir(), Box: "ztbridge", Names: []string{"ztbridge.local"},
		Log: slog.New(slog.DiscardHandler)})
	for role, password := range map[Role]string{Owner: ownerPassword, Viewer: viewerPassword} {
		if err := s.accounts.Set(role, password); err != nil {
			t.Fatal(err)
		}
	}
	go s.feed.run(t.Context())
	server := httptest.NewUnstartedServer(s.Handler())
	server.Listener = arrivals{server.Listener, "zt0"}
	server.Config.ConnContext = withArrival
	server.Start()
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	return s, server
}
