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
		{"no networks", "zerotier: {home: /zt}\n", "by hand"},
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
