package api

import (
	"net/netip"
	"time"

	"ztbridge/bridge/health"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) time.Time { return noon.Add(-d) }

// degraded is a box with everything, on a bad day: the provider refuses the password, the backup
// carries the traffic, one network is not authorised.
func degraded() Status {
	prefix, addr := netip.MustParsePrefix, netip.MustParseAddr
	return Status{
		Version: "1.2.3", Time: noon, Started: ago(
			76 * time.Hour), Config: "/etc/ztbridge/ztbridge.yaml",
		State: Degraded, Summary: "traffic flows, some of it by a second choice",
		Override: "backup",
		Conditions: []Condition{
			{Code: "auth-failed", Subject: "provider", Severity: health.Error,
				Since:   ago(2 * time.Minute),
				Message: "the provider refuses the user name or the password",
				Remedy:  "put the right ones on two lines of /etc/ztbridge/provider.auth and run `systemctl reload ztbridge`"},
			{Code: "second-choice", Severity: health.Warning, Since: ago(2 * time.Minute),
				Message: "traffic leaves by backup", DependsOn: []health.Code{"wan-down",
					"auth-failed"}},
		},
		WAN: WAN{Up: true, Interface: "eth0", Addresses: []netip.Addr{addr("198.51.100.7")},
			Gateway4: addr("198.51.100.1")},
		Networks: []Network{
			{ID: "abcdef0123000001", Name: "home", Title: "family & friends", Status: "ok",
				Interface: "ztabcdefgh",
				Member:    "a1b2c3d4e5", Addresses: []netip.Prefix{prefix("10.147.17.1/24"),
					prefix("fd80:56c2:e21c:0:199:9399:93a1:b2c3/88")}, MTU: 2800},
			{ID: "abcdef0123000002", Name: "abcdef0123000002", Status: NetworkDenied,
				Interface: "ztijklmnop", Member: "a1b2c3d4e5"},
		},
		Ingresses: []Ingress{{
			Name: "home", Kind: "zerotier", Interface: "ztabcdefgh", State: "up",
			Addresses: []netip.Prefix{prefix("10.147.17.1/24")},
			Counters: Counters{BytesIn: 1288490188, BytesOut: 356515840, PacketsIn: 1000000,
				PacketsOut: 300000},
			Goes: []Assignment{
				{Rule: "policy[0]", From: "10.147.17.66", Since: ago(76 * time.Hour),
					Why: "blocked"},
				{Rule: "policy[1]", From: "zerotier", Egress: "backup", Since: ago(2 * time.Minute),
					Why: "provider is down"},
			},
			LastChange: Change{At: ago(76 * time.Hour), What: "absent → up",
				Cause: "the interface appeared"},
		}},
		Egresses: []Egress{
			{Name: "provider", Kind: "openvpn", State: "auth-failed", Since: ago(2 * time.Minute),
				Remote: "udp 203.0.113.5:1194",
				LastChange: Change{At: ago(2 * time.Minute), What: "connecting → auth-failed",
					Cause: "AUTH_FAILED"}},
			{Name: "backup", Kind: "openvpn", State: "up", Usable: true, Since: ago(3 * time.Hour),
				Interface: "tunztb1", Chosen: true,
				Remote: "tcp 203.0.113.9:443", Addresses: []netip.Prefix{
					prefix("10.8.0.6/24")}, MTU: 1500, DNS: []string{"10.8.0.1"},
				ExitAddresses: []ExitAddress{{Address: addr("203.0.113.77"), Country: "NL",
					Service: "1.1.1.1", At: ago(3 * time.Hour)}},
				RTT: 0.0234, Loss: 0.1, Counters: Counters{BytesIn: 1023, BytesOut: 1024}},
		},
		Policies: []Policy{
			{Name: "policy[0]", From: []string{"10.147.17.66"}, Since: ago(76 * time.Hour),
				Why: "blocked"},
			{Name: "policy[1]", From: []string{"zerotier", "endpoint"}, To: []string{"0.0.0.0/0"},
				Wanted: []string{"provider", "backup"},
				Egress: "backup", Since: ago(2 * time.Minute), Why: "selected manually"},
		},
		Clients: []Client{{Name: "phone", Remote: "192.0.2.44:51234", Listener: "tcp/443",
			Addresses: []netip.Addr{addr("10.83.64.9")}, Since: ago(40 * time.Second)}},
		Dropped: []Dropped{{"entrance", 12, 1040}, {"forward", 3, 252}},
		Traffic: []DeviceTraffic{
			{Kind: OtherDevices, Name: "other devices", IPv6: Traffic{Sent: 5e9},
				Since: ago(time.Hour), Last: ago(time.Minute)},
			{Kind: "client", ID: "phone", Name: "phone", Ingress: "tcp/443",
				IPv4: Traffic{Sent: 4096, Received: 1 << 20}, Since: ago(40 * time.Hour),
				Last: ago(5 * time.Second)},
			{Kind: "member", ID: "89e92ceee5", Network: "8056c2e21c000001", Name: "laptop",
				Ingress: "home", IPv4: Traffic{Sent: 3 << 30, Received: 7 << 30},
				IPv6: Traffic{Sent: 1 << 20, Received: 2 << 30}, Since: ago(90 * 24 * time.Hour),
				Last: ago(0)}},
		Reconcile: Reconcile{At: ago(2 * time.Minute), Duration: 0.0131,
			Cause: "provider: AUTH_FAILED", Passes: 17,
			Ops: []string{"ip route replace default dev tunztb1 table 23101 metric 100 proto 90"}},
	}
}
