package config

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"
)

func TestAddNetwork(t *testing.T) {
	const id = "abcdef0123000001"
	cases := []struct{ name, before, after string }{
		{"placeholder in brackets", "zerotier:\n  networks: [your-16-digit-network-id] # mine\n",
			"zerotier:\n  networks: [abcdef0123000001] # mine\n"},
		{"placeholder in a list", "# top\nzerotier:\n  networks:\n    - your-16-digit-network-id\n",
			"# top\nzerotier:\n  networks:\n    - abcdef0123000001\n"},
		{"placeholder in quotes", "zerotier: {networks: ['Your-16-Digit-Network-ID']}\n",
			"zerotier: {networks: ['abcdef0123000001']}\n"},
		{"placeholder with a name",
			"zerotier: {networks: [{name: home, id: your-16-digit-network-id}]}\n",
			"zerotier: {networks: [{name: home, id: abcdef0123000001}]}\n"},
		{"without brackets", "zerotier: {networks: your-16-digit-network-id}\n",
			"zerotier: {networks: abcdef0123000001}\n"},
		{"a comment names it too",
			"# your-16-digit-network-id\nzerotier: {networks: [your-16-digit-network-id]}\n",
			"# your-16-digit-network-id\nzerotier: {networks: [abcdef0123000001]}\n"},
		{"no zerotier", "egress: {d: {wan: {}}}",
			"egress: {d: {wan: {}}}\nzerotier:\n  networks: [abcdef0123000001]\n"},
		{"empty", "", "zerotier:\n  networks: [abcdef0123000001]\n"},
		{"there already", "zerotier: {networks: [ABCDEF0123000001]}\n", ""},
		{"another one", "zerotier: {networks: [abcdef0123000009]}\n", "by hand"},
		{"no networks", "zerotier: {home: /zt}\n",
			"zerotier: {home: /zt, networks: [abcdef0123000001]}\n"},
	}
	for _, c := range cases {
		path := filepath.Join(t.TempDir(), "ztbridge.yaml")
		if err := os.WriteFile(path, []byte(c.before), 0o640); err != nil {
			t.Fatal(err)
		}
		changed, err := AddNetwork(path, id)
		after, readErr := os.ReadFile(path)
		info, statErr := os.Stat(path)
		if readErr != nil || statErr != nil || info.Mode().Perm() != 0o640 {
			t.Fatalf("%s: %v %v %v", c.name, readErr, statErr, info.Mode())
		}
		want := c.after
		if c.after == "" || c.after == "by hand" {
			want = c.before
		}
		if string(after) != want || changed != (want != c.before) ||
			errors.Is(err, ErrByHand) != (c.after == "by hand") {
			t.Errorf("%s: %v, %v\n%s", c.name, changed, err, after)
		}
	}
}

// A file that is not complete yet tells its networks all the same.
func TestZeroTierOf(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ztbridge.yaml")
	text := "zerotier:\n  home: zt\n  networks: [your-16-digit-network-id, ABCDEF0123000001]\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	home, networks, err := ZeroTierOf(path)
	if err != nil || home != filepath.Join(filepath.Dir(path), "zt") ||
		!slices.Equal(networks, []string{"abcdef0123000001"}) {
		t.Errorf("%s %v %v", home, networks, err)
	}
	home, networks, err = ZeroTierOf(path + ".gone")
	if err != nil || home != DefaultZeroTierHome || len(networks) > 0 {
		t.Errorf("without a file: %s %v %v", home, networks, err)
	}
}

// FuzzAddNetwork: whatever the file, it is either left alone, or names the network afterwards and
// is still YAML.
func FuzzAddNetwork(f *testing.F) {
	f.Add("zerotier: {networks: [your-16-digit-network-id]}\n")
	f.Add("zerotier:\n  networks:\n  - {id: 'your-16-digit-network-id'}\n")
	f.Add("a: b\r\n")
	f.Fuzz(func(t *testing.T, before string) {
		const id = "abcdef0123000001"
		path := filepath.Join(t.TempDir(), "f.yaml")
		if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		changed, err := AddNetwork(path, id)
		after, readErr := os.ReadFile(path)
		if readErr != nil {
			t.Fatal(readErr)
		}
		if err != nil || !changed {
			if string(after) != before {
				t.Fatalf("%q became %q (%v)", before, after, err)
			}
			return
		}
		var v yaml.Node
		if err := yaml.Unmarshal(after, &v); err != nil || !strings.Contains(string(after), id) {
			t.Fatalf("%q became %q (%v)", before, after, err)
		}
	})
}

// TestWithNetwork puts an id where none is yet, or corrects one that was mistyped; comments stay.
func TestWithNetwork(t *testing.T) {
	const id, old = "abcdef0123000001", "abcdef0123000002"
	for name, c := range map[string]struct{ before, instead, after string }{
		"a page alone": {"# mine\npage: {serve: lan} # yes\n", "",
			"# mine\npage: {serve: lan} # yes\nzerotier:\n  networks: [" + id + "]\n"},
		"nothing": {"", "", "zerotier:\n  networks: [" + id + "]\n"},
		"a home alone": {"zerotier:\n  home: /z # mine\npage: {serve: lan}\n", "",
			"zerotier:\n  home: /z # mine\n  networks: [" + id + "]\npage: {serve: lan}\n"},
		"a home alone, flow": {"zerotier: {home: /z} # mine\n", "",
			"zerotier: {home: /z, networks: [" + id + "]} # mine\n"},
		"nothing below it": {"zerotier:\npage: {serve: lan}\n", "", ""},
		"there":            {"zerotier: {networks: " + id + "} # a\n", "", "zerotier: {networks: " + id + "} # a\n"},
		"corrected":        {"zerotier:\n  networks: [" + old + "] # a\n", old, "zerotier:\n  networks: [" + id + "] # a\n"},
		"another one":      {"zerotier:\n  networks: [" + old + "]\n", "", ""},
		"no YAML":          {"\tzerotier:", "", ""},
	} {
		got, err := WithNetwork([]byte(c.before), id, c.instead)
		if (err != nil) != (c.after == "") || err == nil && string(got) != c.after {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
}

// TestUnfinished: a configuration that has a page on the LAN may lack the rest, and says what; any
// other one may not.
func TestUnfinished(t *testing.T) {
	for text, want := range map[string]string{
		"page: {serve: lan}": "it is in no ZeroTier network",
		"page: {serve: lan}\nzerotier: {networks: [abcdef0123000001]}":                                                  "it has no exit",
		"page: {serve: lan}\nzerotier: {networks: [abcdef0123000001]}\negress: {d: {wan: {}}}\npolicy: [{egress: [d]}]": "",
		"page: {}": "error", "page: {serve: off}": "error", "{}": "error",
		"page: {}\nzerotier: {networks: [abcdef0123000001]}":                                   "error",
		"page: {serve: lan}\nzerotier: {networks: [abcdef0123000001]}\negress: {d: {wan: {}}}": "error",
	} {
		cfg, _, err := LoadText("/etc/ztbridge/ztbridge.yaml", []byte(text), Overrides{})
		got := "error"
		if err == nil {
			got = cfg.Unfinished()
		}
		if got != want {
			t.Errorf("%q: %q, want %q (%v)", text, got, want, err)
		}
	}
}
