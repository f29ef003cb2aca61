package decide

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ztbridge/bridge/bridgetest"
)

// What no pass could ever carry out is refused before it is in force, with the place in the file.
func TestInfeasible(t *testing.T) {
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "devicemap"), []byte(bridgetest.Network+"=zt+\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	egresses := func(n int) string {
		text := "egress:\n"
		for i := range n {
			text += fmt.Sprintf("  w%d: {wan: {interface: eth%d}}\n", i, i)
		}
		return text
	}
	pairs := func(n int) string {
		text := "policy:\n"
		for i := range n {
			text += fmt.Sprintf("  - {from: 10.9.%d.0/24, egress: [w%d, w%d]}\n", i, i/31, 31-i%31)
		}
		return text
	}
	tests := []struct{ name, text, want string }{
		{"the limits", "ingress: [lan0]\n" + egresses(32) + pairs(59), ""},
		{"a member, a prefix on the LAN, a client", "zerotier: {networks: [" + bridgetest.Network +
			"]}\nendpoint: {address: vpn.example.org, listen: [udp/1194]}\n" +
			"egress: {home: {zerotier: {via: 10.147.17.2}}, p: {openvpn: {profile: provider.ovpn}}}\n" +
			"peering: [{from: zerotier, to: 192.168.1.0/24}]\npolicy:\n- {from: phone, egress: p}\n- {egress: [home, p]}\n", ""},
		{"a network twice", "zerotier: {networks: [" + bridgetest.Network +
			"]}\negress: {p: {wan: {}}}\npolicy: [{egress: p}]\ningress:\n- " +
			bridgetest.Iface() + "\n",
			":5: ingress[0]: " + bridgetest.Iface() + " is the interface of the network " +
				bridgetest.Network},
		{"a device that no language prints", "zerotier: {home: " + home + ", networks: [" +
			bridgetest.Network + "]}\negress: {p: {wan: {}}}\npolicy: [{egress: p}]\n",
			`interface name "zt+"`},
		{"one device",
			"ingress: [lan0]\negress:\n  provider-aag: {openvpn: {profile: provider.ovpn}}\n  provider-adf: {openvpn: {profile: provider.ovpn}}\n",
			`:4: egress.provider-adf: its network device would be tunztb-prov0257, and that is "provider-aag"'s; rename one of the two`},
		{"ways out", "ingress: [lan0]\n" + egresses(33) + pairs(1),
			"egress: there are 33 ways out, counting each prefix under `peering:`, and at most 32 are possible"},
		{"lists", "ingress: [lan0]\n" + egresses(32) + pairs(60),
			":95: policy[59]: the policy has more than 59 different lists of egresses"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := bridgetest.Parse(t, tt.text)
			listeners, err := ListenersOf(cfg)
			if err != nil {
				t.Fatal(err)
			}
			switch err := Validate(cfg, listeners); {
			case tt.want == "" && err != nil:
				t.Error(err)
			case tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)):
				t.Errorf("got %v, want %s", err, tt.want)
			}
		})
	}
}
