package clients

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/pki"
)

func open(t *testing.T, text string) (*Roster, error) {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "ztbridge.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := config.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return Open(cfg, Keys(dir))
}

const bare = `
zerotier: {networks: [abcdef0123000001]}
egress: {direct: {wan: {}}}
`

func TestOpenNeedsAnEndpoint(t *testing.T) {
	_, err := open(t, bare+"policy: [{from: [zerotier], egress: [direct]}]\n")
	if !errors.Is(err, api.ErrNoEndpoint) || api.Hint(err) == "" {
		t.Errorf("opened: %v", err)
	}
}

const withEndpoint = bare + `
policy: [{from: [zerotier, endpoint], egress: [direct]}]
endpoint: {address: vm.example.org, listen: [udp/1194, tcp/443]}
`

func TestHostNumbers(t *testing.T) {
	r, err := open(t, withEndpoint)
	if err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]uint32{
		"10.83.64.50": 50, "10.83.68.50": 50, "10.83.65.4": 260, "fd5a:5442:4947::32": 50,
		"10.83.64.1": 0, "10.83.64.0": 0, "10.83.67.255": 0, "10.83.72.50": 0, "192.0.2.1": 0,
	} {
		got, err := r.host(netip.MustParseAddr(text))
		if got != want || (err == nil) != (want != 0) {
			t.Errorf("host(%s) = %d, %v; want %d", text, got, err, want)
		}
	}
	if got, err := r.host(netip.Addr{}); got != 0 || err != nil {
		t.Errorf("no address asked for: %d, %v", got, err)
	}
}

// A refused name leaves nothing behind, and the refusal says what to do.
func TestRefusals(t *testing.T) {
	r, err := open(t, withEndpoint)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"", "../evil", "a b", "zerotier", "10.83.64.9", "-x",
		string(make([]byte, 1000))} {
		if _, err := r.Add(Request{Name: name}); err == nil {
			t.Errorf("%.20q was added", name)
		}
	}
	if _, err := os.Stat(filepath.Join(filepath.Dir(r.cfg.File), "pki")); err == nil {
		t.Error("a key store was made")
	}
	if _, err := r.Add(Request{Name: "phone"}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Add(Request{Name: "phone"}); !errors.Is(err, pki.ErrExists) ||
		api.Hint(err) == "" {
		t.Errorf("the same name again: %v", err)
	}
	if _, _, err := r.Profile("phnoe", false); !errors.Is(err, api.ErrNotFound) ||
		err.Error() != `there is no client "phnoe"; did you mean "phone"?` {
		t.Errorf("a mistyped name: %v", err)
	}
	if err := r.Revoke("phone"); err != nil {
		t.Error(err)
	}
	if _, _, err := r.Profile("phone", false); !errors.Is(err, pki.ErrRevoked) {
		t.Errorf("a profile of a revoked client: %v", err)
	}
}
