package config

import (
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A flag wins over a variable, which wins over the file.
func TestLayers(t *testing.T) {
	dir := folder(t)
	path := filepath.Join(dir, "ztbridge.yaml")
	write(t, path, minimal+"endpoint: {address: file.example.org, listen: tcp/443}\n", 0o644)

	address := func(o Overrides) string {
		cfg, warnings, err := Load(path, o)
		if err != nil || len(warnings) > 0 {
			t.Fatalf("error %v, warnings %v", err, warnings)
		}
		return cfg.Endpoint.Address
	}
	if got := address(nil); got != "file.example.org" {
		t.Errorf("file: %s", got)
	}
	t.Setenv("ZTBRIDGE_ENDPOINT_ADDRESS", "env.example.org")
	if got := address(nil); got != "env.example.org" {
		t.Errorf("variable: %s", got)
	}
	if got := address(
		Overrides{"endpoint.address": "flag.example.org"}); got != "flag.example.org" {
		t.Errorf("flag: %s", got)
	}

	t.Setenv("ZTBRIDGE_ENDPOINT_LISTEN", "udp/53, tcp/8443")
	cfg, _, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]Listener{{"udp", 53}, {"tcp", 8443}}, cfg.Endpoint.Listen); diff != "" {
		t.Errorf("list (-want +got):\n%s", diff)
	}
}

// A network id of digits and one e is a number to a reader of YAML, and a name to us, by whichever
// way it comes.
func TestIDsAreNotNumbers(t *testing.T) {
	const id = "8056e21000000001"
	text := "zerotier: {networks: [" + id + "]}\negress: {p: {openvpn: {profile: provider.ovpn}}}\n"
	if got := mustLoad(t, text).ZeroTier.Networks[0].ID; got != id {
		t.Errorf("file: %s", got)
	}
	t.Setenv("ZTBRIDGE_ZEROTIER_NETWORKS", "1056e21000000001")
	if got := mustLoad(t, text).ZeroTier.Networks[0].ID; got != "1056e21000000001" {
		t.Errorf("variable: %s", got)
	}
}

func TestLayersNameTheirSource(t *testing.T) {
	dir := folder(t)
	t.Setenv("ZTBRIDGE_PROBE_INTERVAL", "never")
	_, _, err := load(t, dir, minimal)
	if want := `ZTBRIDGE_PROBE_INTERVAL: "never" is not a duration from 100ms to 1m0s; write it as 500ms, 30s or 5m`; errorText(err) != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	t.Setenv("ZTBRIDGE_PROBE_INTERVAL", "")
	path := filepath.Join(dir, "ztbridge.yaml")
	_, _, err = Load(path, Overrides{"endpoint.adress": "x"})
	if want := `--set endpoint.adress: this key cannot be set by a flag; did you mean "endpoint.address"?`; errorText(err) != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestUnknownVariableIsWarnedOf(t *testing.T) {
	t.Setenv("ZTBRIDGE_PROBE_TARGET", "1.1.1.1")
	t.Setenv("ZTBRIDGE_STATE_DIR", "/elsewhere") // the command line's
	_, warnings, err := load(t, folder(t), minimal)
	if err != nil || len(warnings) != 1 ||
		!strings.Contains(warnings[0].String(), `did you mean "ZTBRIDGE_PROBE_TARGETS"?`) {
		t.Errorf("error %v, warnings %v", err, warnings)
	}
}

// A value from outside the file is relative to where the person is, one in the file to the file.
func TestRelativePaths(t *testing.T) {
	dir := folder(t)
	t.Chdir(t.TempDir())
	cfg, _, err := load(t, dir, minimal)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "provider.ovpn"); cfg.Egresses[0].OpenVPN.Profile != want {
		t.Errorf("in the file: %s, want %s", cfg.Egresses[0].OpenVPN.Profile, want)
	}
	here, err := filepath.Abs("zt")
	if err != nil {
		t.Fatal(err)
	}
	cfg, _, err = Load(cfg.File, Overrides{"zerotier.home": "zt"})
	if err != nil || cfg.ZeroTier.Home != here {
		t.Errorf("by a flag: %v, %v; want %s", cfg, err, here)
	}
}

func TestOrderOfTheFileIsKept(t *testing.T) {
	text := "zerotier: {networks: [abcdef0123000001]}\negress:\n"
	want := []string{"zulu", "alpha", "mike", "bravo"}
	for _, name := range want {
		text += "  " + name + ": {openvpn: {profile: provider.ovpn}}\n"
	}
	cfg := mustLoad(t, text)
	if diff := cmp.Diff(want, cfg.Policy[0].Egress); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
}

func TestCheckClients(t *testing.T) {
	cfg := mustLoad(t,
		minimal+
			"endpoint: {address: vm.example.org}\npolicy:\n  - {from: [phone, tablte], egress: provider}\n")
	got := cfg.CheckClients([]string{"phone", "tablet"}, nil)
	if len(got) != 1 || got[0].Line != 5 ||
		!strings.Contains(got[0].Text, `did you mean "tablet"?`) {
		t.Errorf("got %v", got)
	}
	got = cfg.CheckClients([]string{"phone", "tablte"}, []string{"phone"})
	if len(got) != 1 || got[0].Line != 5 || !strings.Contains(got[0].Text, `"phone" is revoked`) {
		t.Errorf("a rule for a revoked client: %v", got)
	}
}

func TestNoConfiguration(t *testing.T) {
	_, _, err := Load(filepath.Join(t.TempDir(), "none.yaml"), nil)
	if !errors.Is(err, ErrFile) || !strings.Contains(err.Error(),
		"there is no configuration; write one") {
		t.Errorf("got %v", err)
	}
}

// An authority that cannot connect gives no certificate.
func TestACMENeedsPort443(t *testing.T) {
	for listen, want := range map[string]int{"[tcp/443]": 0, "[udp/1194, tcp/443]": 0,
		"[udp/443]": 1, "[tcp/8443, udp/1194]": 1} {
		_, warnings, err := load(t, folder(t), minimal+
			"endpoint:\n  address: vm.example.org\n  listen: "+listen+"\n  https:\n    acme: {}\n")
		if err != nil || len(warnings) != want || want == 1 && warnings[0].Line != 7 {
			t.Errorf("%s: %v, %v", listen, warnings, err)
		}
	}
}
