package config

import (
	"errors"
	"strconv"
	"strings"
	"testing"
)

// A rule that no packet can reach is refused; a selector that none can reach is warned of.
func TestReach(t *testing.T) {
	const top = `zerotier: {networks: [abcdef0123000001, {id: abcdef0123000002, name: family}]}
egress: {provider: {openvpn: {profile: provider.ovpn}}, direct: {wan: {}}}
endpoint: {address: vm.example.org}
policy:
`
	cases := []struct {
		name string
		// rules, one a line; the last is what the case is about.
		rules   string
		refused bool
		warned  string
	}{
		{"general before special",
			"{from: zerotier, egress: provider}\n{from: family, egress: direct}", true, ""},
		{"special before general",
			"{from: family, egress: direct}\n{from: zerotier, egress: provider}", false, ""},
		{"all parts taken before",
			"{from: family, egress: direct}\n{from: abcdef0123000001, egress: provider}\n{from: zerotier, egress: direct}", true, ""},
		{"prefix in prefix",
			"{from: 10.0.0.0/8, egress: provider}\n{from: 10.1.2.3, egress: direct}", true, ""},
		{"one of two prefixes",
			"{from: 10.0.0.0/8, egress: provider}\n{from: [10.1.2.3, 192.168.7.7], egress: direct}",
			false, "10.1.2.3 never gets here"},
		{"prefix after all ingresses",
			"{from: [zerotier, endpoint], egress: provider}\n{from: 10.1.2.3, egress: direct}",
			true, ""},
		{"prefix after some ingresses",
			"{from: zerotier, egress: provider}\n{from: 10.1.2.3, egress: direct}", false, ""},
		{"client after endpoint",
			"{from: endpoint, egress: provider}\n{from: phone, egress: direct}", true, ""},
		{"client before endpoint",
			"{from: phone, egress: direct}\n{from: endpoint, egress: provider}", false, ""},
		{"client twice", "{from: phone, egress: direct}\n{from: phone, egress: provider}", true,
			""},
		{"destination narrows",
			"{from: zerotier, to: 198.51.100.0/24, egress: direct}\n{from: zerotier, egress: provider}", false, ""},
		{"destination within",
			"{from: zerotier, to: 198.51.100.0/24, egress: direct}\n{from: family, to: 198.51.100.7, egress: provider}", true, ""},
		{"both IP versions in two rules",
			"{from: zerotier, to: 0.0.0.0/0, egress: direct}\n{from: zerotier, to: '::/0', egress: direct}\n{from: zerotier, egress: provider}", true, ""},
		{"IPv6 is left",
			"{from: zerotier, to: 0.0.0.0/0, egress: direct}\n{from: zerotier, egress: provider}",
			false, ""},
		{"versions do not meet", "{from: 10.1.2.3, to: '2001:db8::/32', egress: direct}", true, ""},
		{"at some times before always",
			"{at: sat, egress: direct}\n{egress: provider}", false, ""},
		{"at some times after always",
			"{egress: direct}\n{at: sat, egress: provider}", true, ""},
		{"everything, then anything", "{egress: direct}\n{from: 10.1.2.3, egress: provider}", true,
			""},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			rules := strings.Split(c.rules, "\n")
			_, warnings, err := load(t, folder(t), top+"  - "+strings.Join(rules, "\n  - ")+"\n")
			if errors.Is(err, ErrUnreachable) != c.refused || err != nil && !c.refused {
				t.Fatalf("refused: want %t, got %v", c.refused, err)
			}
			var mistakes Errors
			if errors.As(err, &mistakes) &&
				(len(mistakes) != 1 || mistakes[0].Line != 4+len(rules)) {
				t.Errorf("want one mistake, on the last rule; got:\n%v", err)
			}
			if c.warned != "" && (len(warnings) == 0 ||
				!strings.Contains(warnings[0].String(), c.warned)) {
				t.Errorf("want a warning %q, got %v", c.warned, warnings)
			}
		})
	}
}

// A thousand rules with four thousand members are checked in a moment.
func BenchmarkLoadThousandRules(b *testing.B) {
	dir := folder(b)
	var text strings.Builder
	text.WriteString(minimal + "policy:\n")
	for i := range 1000 {
		text.WriteString("  - {from: [")
		for j := range 4 {
			n := i*4 + j
			text.WriteString("10.147." + strconv.Itoa(n/250) + "." + strconv.Itoa(n%250) + ", ")
		}
		text.WriteString("], egress: provider}\n")
	}
	for b.Loop() {
		if _, _, err := load(b, dir, text.String()); err != nil {
			b.Fatal(err)
		}
	}
}
