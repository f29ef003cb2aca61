package status

import (
	"strings"
	"testing"

	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/health"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// An exit without IPv4 is told where devices have IPv4, with the reason of its kind; one without
// IPv6 is no fault.
func TestExitWithoutIPv4(t *testing.T) {
	for name, tt := range map[string]struct {
		list string
		set  func(*Input)
		says string
	}{
		"tunnel": {"[provider]", func(in *Input) {
			in.Snapshot.Tunnels["provider"] = bridgetest.Up("fd08::2/64")
		}, "its server assigned IPv6 alone"},
		"tunnel without IPv6": {"[provider]", func(*Input) {}, ""},
		"line": {"[direct]", func(in *Input) {
			in.Snapshot.Host.Defaults = []kernel.DefaultRoute{{Family: policyroute.V6, Iface: "eth0"}}
		}, "this box's connection by eth0 carries IPv6 alone"},
		"line without IPv6": {"[direct]", func(in *Input) {
			in.Snapshot.Host.Defaults = []kernel.DefaultRoute{{Family: policyroute.V4, Iface: "eth0"}}
		}, ""},
	} {
		in := well(t)
		in.Config = bridgetest.Parse(t, strings.Replace(everything, "[provider, home, direct]", tt.list, 1))
		tt.set(&in)
		in.Decided = decide.Decide(in.Config, in.Snapshot)
		said := ""
		for _, p := range problems(in) {
			if p.Code == health.NoIPv4 {
				said += p.Message
			}
		}
		if tt.says == "" && said != "" || !strings.Contains(said, tt.says) {
			t.Errorf("%s: %q, want %q", name, said, tt.says)
		}
	}
}
