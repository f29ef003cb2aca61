package client

import (
	"context"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/openvpn/profile"
)

// plainName has names asked for as they are.
var plainName = (&profile.Profile{}).Question

func TestRemembersNames(t *testing.T) {
	path := filepath.Join(t.TempDir(), "names.json")
	addr := netip.MustParseAddr("198.51.100.1")
	r := &testResolver{answers: map[string][]netip.Addr{
		"a.example.net": {netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("127.0.0.1"),
			addr, addr},
	}}
	ctx := context.Background()
	a := profile.Remote{Host: "a.example.net"}
	n := openNames(path, r, plainName)
	got, old, err := n.lookup(ctx, a, false, false)
	if want := []netip.Addr{addr, netip.MustParseAddr("2001:db8::1")}; err != nil || old ||
		!slices.Equal(got, want) {
		t.Errorf("got %v, %v, %v; want %v", got, old, err, want)
	}
	if _, _, err := n.lookup(ctx, a, false, false); err != nil || r.asked.Load() != 1 {
		t.Errorf("DNS was asked %d times within a minute, %v", r.asked.Load(), err)
	}
	if _, _, err := n.lookup(ctx, a, true, false); err != nil || r.asked.Load() != 2 {
		t.Errorf("after the address failed, DNS was asked %d times, %v", r.asked.Load(), err)
	}
	six := profile.Remote{Host: a.Host, Family: 6}
	if got, _, _ := n.lookup(ctx, six, false, false); len(got) != 1 ||
		!got[0].Is6() {
		t.Errorf("udp6: %v", got)
	}

	r.down.Store(true)
	n = openNames(path, r, plainName) // as after a restart
	if got, old, err := n.lookup(ctx, a, false, false); !old || err == nil || len(got) != 2 {
		t.Errorf("without DNS: %v, %v, %v", got, old, err)
	}
	if got, _, err := n.lookup(ctx, profile.Remote{Host: "b.example.net"}, false,
		false); len(got) != 0 ||
		err == nil {
		t.Errorf("an unknown name: %v, %v", got, err)
	}
	if got, _, err := n.lookup(ctx, profile.Remote{Host: "192.0.2.7"}, false, false); err != nil ||
		len(got) != 1 {
		t.Errorf("an address: %v, %v", got, err)
	}
	if _, _, err := n.lookup(ctx, profile.Remote{Host: "192.0.2.7", Family: 6}, false,
		false); err == nil {
		t.Error("an IPv4 address serves udp6")
	}
	for _, broken := range []string{"", "{", "null", `{"a.example.net":{"addrs":["127.0.0.1"]}}`} {
		if err := os.WriteFile(path, []byte(broken), 0o600); err != nil {
			t.Fatal(err)
		}
		if got, _, err := openNames(path, r, plainName).lookup(ctx, a, false, false); err == nil ||
			len(got) != 0 {
			t.Errorf("with %q on disk: %v, %v", broken, got, err)
		}
	}
}

// An answer that cannot be written, as on a full disk, is no failure of DNS, and is used as well.
func TestRemembersUnwritten(t *testing.T) {
	r := &testResolver{answers: map[string][]netip.Addr{
		"a.example.net": {netip.MustParseAddr("198.51.100.1")}}}
	n := openNames(filepath.Join(t.TempDir(), "missing", "names.json"), r, plainName)
	for range 2 {
		if got, old, err := n.lookup(t.Context(), profile.Remote{Host: "a.example.net"}, false,
			false); err != nil || old || len(got) != 1 {
			t.Errorf("got %v, %v, %v", got, old, err)
		}
	}
	if r.asked.Load() != 1 {
		t.Errorf("DNS was asked %d times within a minute", r.asked.Load())
	}
}

// slowResolver does not answer.
type slowResolver struct{ limit time.Duration }

func (r *slowResolver) LookupNetIP(ctx context.Context, _, _ string) ([]netip.Addr, error) {
	deadline, _ := ctx.Deadline()
	r.limit = time.Until(deadline)
	return nil, context.DeadlineExceeded
}

// A silent resolver is waited for briefly when clients wait and an address is known.
func TestSilentResolver(t *testing.T) {
	r := &slowResolver{}
	n := openNames(filepath.Join(t.TempDir(), "n"), r, plainName)
	n.known["old.example.net"] = answer{Addrs: []netip.Addr{netip.MustParseAddr("192.0.2.1")},
		Time: time.Now().Add(-time.Hour), fresh: true}
	for _, tc := range []struct {
		host       string
		fastRounds bool
		limit      time.Duration
	}{{"old.example.net", true, lookupFast}, {"old.example.net", false, lookupShort},
		{"new.example.net", true, lookupLimit}} {
		_, old, err := n.lookup(t.Context(), profile.Remote{Host: tc.host}, false, tc.fastRounds)
		if err == nil || old != (tc.limit != lookupLimit) || r.limit > tc.limit ||
			r.limit < tc.limit-100*time.Millisecond {
			t.Errorf("%s, in fastRounds %v: waited %v, old %v, %v; want %v", tc.host, tc.fastRounds,
				r.limit,
				old, err, tc.limit)
		}
	}
}

// wildcard answers for any name below a domain, and not for the domain itself.
type wildcard struct{ asked []string }

func (w *wildcard) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	w.asked = append(w.asked, host)
	if label, domain, _ := strings.Cut(host, "."); len(label) != 12 || domain != "vpn.example.net" {
		return nil, &net.DNSError{Err: "no such host", Name: host, IsNotFound: true}
	}
	return []netip.Addr{netip.MustParseAddr("198.51.100.1")}, nil
}

// A name below a wildcard is asked for by another label each time, and remembered without it.
func TestAsksBelowWildcard(t *testing.T) {
	path := filepath.Join(t.TempDir(), "names.json")
	w := &wildcard{}
	n := openNames(path, w, (&profile.Profile{RandomNames: true}).Question)
	r := profile.Remote{Host: "vpn.example.net"}
	for _, again := range []bool{false, false, true} {
		if got, old, err := n.lookup(t.Context(), r, again, false); err != nil || old ||
			len(got) != 1 {
			t.Errorf("asked for %q: %v, %v, %v", w.asked, got, old, err)
		}
	}
	if len(w.asked) != 2 || w.asked[0] == w.asked[1] {
		t.Errorf("asked for %q", w.asked)
	}
	if got, old, err := openNames(path, &testResolver{}, plainName).lookup(t.Context(), r, false,
		false); !old || len(got) != 1 {
		t.Errorf("after a restart without DNS: %v, %v, %v", got, old, err)
	}
	if _, _, err := n.lookup(t.Context(), profile.Remote{Host: "192.0.2.7"}, false,
		false); err != nil ||
		len(w.asked) != 2 {
		t.Errorf("an address: %v, asked for %q", err, w.asked)
	}
}
