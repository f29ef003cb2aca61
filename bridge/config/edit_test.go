package config

import (
	"bytes"
	"errors"
	"os"
	"strings"
	"testing"
)

// editCases are texts as people write them, and what becomes of them.
var editCases = []struct {
	name, before string
	replace      bool
	edit         TunnelEdit
	rules        []int
	after        string
	err          error
}{
	{name: "replace, block", replace: true,
		before: "# mine\negress:\n  # the best one\n  provider:\n    openvpn:\n" +
			"      profile: old.ovpn # from March\n      # hush\n      credentials: old.auth\n" +
			"      pick: # which\n        - a\n        - b\n\n      dns: [9.9.9.9] # quad9\n" +
			"  b: {wan: {}}\n",
		edit: TunnelEdit{Name: "provider", Profile: "p/n.ovpn", Credentials: "p/n.auth"},
		after: "# mine\negress:\n  # the best one\n  provider:\n    openvpn:\n" +
			"      profile: p/n.ovpn # from March\n      # hush\n      credentials: p/n.auth\n" +
			"\n      dns: [9.9.9.9] # quad9\n  b: {wan: {}}\n"},
	{name: "replace by a collection", replace: true,
		before: "egress:\n  a:\n    openvpn:\n      profile: 'old.ovpn'  # one\n      # two\n",
		edit: TunnelEdit{Name: "a", Profile: "n.zip", Collection: true,
			Pick: []string{"nl-*", "de: x"}, LegacyCrypto: true, Credentials: "c"},
		after: "egress:\n  a:\n    openvpn:\n      profiles: n.zip  # one\n      pick: [nl-*, 'de: x']\n" +
			"      credentials: c\n      legacy_crypto: true\n      # two\n"},
	{name: "replace, flow", replace: true,
		before: "egress: # all\n  a: {openvpn: {profile: \"o.ovpn\", credentials: o, dns: 9.9.9.9}} # A\n",
		edit:   TunnelEdit{Name: "a", Profile: "n.ovpn"},
		after:  "egress: # all\n  a: {openvpn: {profile: n.ovpn, dns: 9.9.9.9}} # A\n"},
	{name: "replace, sequence at the key's depth", replace: true,
		before: "egress:\n  a:\n    openvpn:\n      profiles: o.zip\n      pick:\n      - x\n" +
			"      - y\n      order: random\n",
		edit:  TunnelEdit{Name: "a", Profile: "o2.zip", Collection: true},
		after: "egress:\n  a:\n    openvpn:\n      profiles: o2.zip\n      order: random\n"},
	{name: "replace what is none", replace: true, before: "egress: {a: {wan: {}}}\n",
		edit: TunnelEdit{Name: "a", Profile: "n.ovpn"}, err: ErrDangling},
	{name: "replace, comment in a flow", replace: true,
		before: "egress:\n  a: {openvpn: {profile: o.ovpn, # here\n    dns: 9.9.9.9}}\n",
		edit:   TunnelEdit{Name: "a", Profile: "n.ovpn"}, err: ErrByHand},
	{name: "add, block",
		before: "egress:\n  a:\n    openvpn:\n      profile: a.ovpn\n      # of a\n\n" +
			"  # another\n  #b: {}\n\npolicy:\n  - {from: [zerotier], egress: [a]} # all\n" +
			"  - from: endpoint\n    egress:\n      - a # one\n  - egress: a # rest\n" +
			"  - {from: x, choose: [a]}\n",
		edit: TunnelEdit{Name: "n", Profile: "n.ovpn", Credentials: "n.auth"},
		after: "egress:\n  a:\n    openvpn:\n      profile: a.ovpn\n      # of a\n" +
			"  n:\n    openvpn:\n      profile: n.ovpn\n      credentials: n.auth\n\n" +
			"  # another\n  #b: {}\n\npolicy:\n  - {from: [zerotier], egress: [a, n]} # all\n" +
			"  - from: endpoint\n    egress:\n      - a # one\n      - n\n" +
			"  - egress: [a, n] # rest\n  - {from: x, choose: [a, n]}\n",
		rules: []int{1, 2, 3, 4}},
	{name: "add, no egress, no policy", before: "zerotier: {networks: x}",
		edit: TunnelEdit{Name: "n", Profile: "n.ovpn"}, rules: []int{1},
		after: "zerotier: {networks: x}\negress:\n  n:\n    openvpn:\n      profile: n.ovpn\n"},
	{name: "add, all commented out", before: "egress: # none\n  #a: {}\nprobe: {}\n",
		edit: TunnelEdit{Name: "n", Profile: "n.ovpn"},
		after: "egress: # none\n  n:\n    openvpn:\n      profile: n.ovpn\n  #a: {}\n" +
			"probe: {}\n"},
	{name: "add, flow", before: "egress: {a: {wan: {}}} # x\n",
		edit:  TunnelEdit{Name: "n", Profile: "n.ovpn"},
		after: "egress: {a: {wan: {}}, n: {openvpn: {profile: n.ovpn}}} # x\n"},
	{name: "add, lines of Windows", before: "egress:\r\n  a: {wan: {}}\r\n",
		edit: TunnelEdit{Name: "n", Profile: "n.ovpn"},
		after: "egress:\r\n  a: {wan: {}}\r\n  n:\r\n    openvpn:\r\n" +
			"      profile: n.ovpn\r\n"},
	{name: "add, empty", before: "", edit: TunnelEdit{Name: "n", Profile: "n.ovpn"},
		after: "egress:\n  n:\n    openvpn:\n      profile: n.ovpn\n"},
	{name: "add, rule in several lines", before: "egress: {a: {wan: {}}}\npolicy:\n" +
		"  - egress: [a,\n      # b\n      c]\n",
		edit: TunnelEdit{Name: "n", Profile: "n.ovpn"}, rules: []int{1}, err: ErrByHand},
	{name: "add, there already", before: "egress: {n: {wan: {}}}\n",
		edit: TunnelEdit{Name: "n", Profile: "n.ovpn"}, err: ErrDuplicate},
	{name: "add, a rule that blocks", before: "policy: [{egress: block}]\n",
		edit: TunnelEdit{Name: "n", Profile: "n.ovpn"}, rules: []int{1}, err: ErrDangling},
	{name: "add, no such rule", before: "policy: [{egress: [a]}]\n",
		edit: TunnelEdit{Name: "n", Profile: "n.ovpn"}, rules: []int{2}, err: ErrDangling},
	{name: "no YAML", before: "a: [\n", edit: TunnelEdit{Name: "n", Profile: "n.ovpn"},
		err: ErrSyntax},
}

// TestEditTunnel: what was not meant stays byte for byte.
func TestEditTunnel(t *testing.T) {
	for _, c := range editCases {
		t.Run(c.name, func(t *testing.T) {
			edit := func(text []byte) ([]byte, error) { return AddTunnel(text, c.edit, c.rules) }
			if c.replace {
				edit = func(text []byte) ([]byte, error) { return ReplaceTunnel(text, c.edit) }
			}
			got, err := edit([]byte(c.before))
			if !errors.Is(err, c.err) || err != nil && c.err == nil || string(got) != c.after {
				t.Errorf("%v\n%s\nwant:\n%s", err, got, c.after)
			}
		})
	}
}

// TestEditReference edits the reference configuration: all its lines are there afterwards, but that
// of the profile.
func TestEditReference(t *testing.T) {
	text, err := os.ReadFile("../../configs/ztbridge.yaml")
	if err != nil {
		t.Fatal(err)
	}
	replaced, err := ReplaceTunnel(text, TunnelEdit{Name: "provider", Profile: "profiles/x.ovpn",
		Credentials: "profiles/x.auth"})
	if err != nil {
		t.Fatal(err)
	}
	added, err := AddTunnel(replaced, TunnelEdit{Name: "more", Profile: "y.zip", Collection: true},
		nil)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if strings.Contains(line, "profile: provider.ovpn") {
			line = "      profile: profiles/x.ovpn\n      credentials: profiles/x.auth\n"
		}
		if !strings.Contains(string(added), line) {
			t.Errorf("gone: %s", line)
		}
	}
	if n := bytes.Count(added, []byte("\n")) - bytes.Count(text, []byte("\n")); n != 4 {
		t.Errorf("%d lines more", n)
	}
}

// FuzzEditTunnel: an edit is refused, or keeps every comment.
func FuzzEditTunnel(f *testing.F) {
	for _, c := range editCases {
		f.Add(c.before, c.edit.Name, c.replace)
	}
	f.Fuzz(func(t *testing.T, before, name string, replace bool) {
		if !nameRE.MatchString(name) {
			return
		}
		edit := TunnelEdit{Name: name, Profile: "n.ovpn", Credentials: "n.auth"}
		var after []byte
		var err error
		if replace {
			after, err = ReplaceTunnel([]byte(before), edit)
		} else {
			after, err = AddTunnel([]byte(before), edit, []int{1})
		}
		if err != nil {
			return
		}
		for line := range strings.Lines(before) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "#") && !bytes.Contains(after, []byte(line)) {
				t.Errorf("gone: %q\n%s", line, after)
			}
		}
	})
}
