package client

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/openvpn/profile"
)

func TestBackoff(t *testing.T) {
	const ms = time.Millisecond
	for _, tc := range []struct {
		state    State
		remotes  int
		failures int
		want     time.Duration
	}{
		{StateBackoff, 1, 1, 250 * ms}, {StateBackoff, 1, 2, 375 * ms}, {StateBackoff, 1, 3,
			562500 * time.Microsecond},
		{StateBackoff, 1, 14, 30 * time.Second}, {StateBackoff, 1, 10000, 30 * time.Second},
		// With three servers, the wait grows once all were tried.
		{StateBackoff, 3, 1, 250 * ms}, {StateBackoff, 3, 2, 250 * ms}, {StateBackoff, 3, 3,
			250 * ms}, {StateBackoff, 3, 6, 375 * ms},
		{StateTLSFailed, 3, 1, 250 * ms}, {StateTLSFailed, 3, 3, 2 * time.Second},
		// All of their names were asked for already.
		{StateDNSFailed, 100, 1, time.Second}, {StateDNSFailed, 100, 2, 1500 * ms}, {StateDNSFailed,
			100, 12, 30 * time.Second},
		// Refused credentials are refused by all of them.
		{StateAuthFailed, 3, 1, 30 * time.Second}, {StateAuthFailed, 1, 2,
			45 * time.Second}, {StateAuthFailed, 1, 99, 30 * time.Minute},
		{StateCertExpired, 1, 1, 15 * time.Second}, {StateConfigError, 1, 1, 10 * time.Second},
		{StateDNSFailed, 1, 1, time.Second}, {StateDNSFailed, 1, 2, 1500 * ms}, {StatePushRefused,
			1, 1, 5 * time.Second},
	} {
		var c failureCount
		for range tc.failures {
			c.add(tc.state)
		}
		if got := c.wait(tc.state, tc.remotes, 0.5); got != tc.want {
			t.Errorf("%s, failure %d of %d servers: %v, want %v", tc.state, tc.failures, tc.remotes,
				got, tc.want)
		}
		low, high := c.wait(tc.state, tc.remotes, 0), c.wait(tc.state, tc.remotes, 0.999)
		if low > tc.want || high < tc.want || low < tc.want*7/10 || high > tc.want*13/10 {
			t.Errorf("%s: jitter from %v to %v around %v", tc.state, low, high, tc.want)
		}
	}
}

// TestClassify holds lines that OpenVPN 2.6.14 printed, most of them to the servers of
// TestFailures.
func TestClassify(t *testing.T) {
	for _, tc := range []struct {
		line  string
		state State
		cause string
	}{
		{
			"VERIFY ERROR: depth=0, error=certificate has expired: CN=old.example.net, serial=1795312938835911641", StateCertExpired, "the server's certificate (CN=old.example.net) has expired"},
		{
			"VERIFY ERROR: depth=1, error=certificate has expired: C=ZZ, O=Example VPN, CN=Root, serial=1", StateCertExpired, "authority (C=ZZ, O=Example VPN, CN=Root) has expired"},
		{"VERIFY ERROR: depth=0, error=certificate is not yet valid: CN=new.example.net, serial=2",
			StateCertExpired, "not valid yet"},
		{
			"VERIFY ERROR: depth=0, error=unable to get local issuer certificate: CN=server.example.net, serial=1795312398001339808", StateTLSFailed, "not issued by the profile's CA (unable to get local issuer certificate)"},
		{
			"VERIFY ERROR: depth=1, error=self-signed certificate in certificate chain: CN=Example Provider CA, serial=1", StateTLSFailed, "not issued by the profile's CA"},
		{
			"VERIFY ERROR: depth=0, error=unsuitable certificate purpose: CN=customer-1, serial=1795312938835911641", StateTLSFailed, "not one of a server"},
		{"VERIFY ERROR: depth=0, error=CRL has expired: CN=x, serial=1", StateCertExpired,
			"revocation list has expired"},
		{"VERIFY X509NAME ERROR: CN=server.example.net, must be other.example.net", StateTLSFailed,
			"another name (CN=server.example.net)"},
		{"VERIFY KU ERROR", StateTLSFailed, "not one of a server"},
		{"VERIFY EKU ERROR", StateTLSFailed, "not one of a server"},
		{"Data channel cipher negotiation failed (no shared cipher)", StateTLSFailed,
			"no data cipher in common"},
		{
			"ERROR: failed to negotiate cipher with server.  Add the server's cipher ('BF-CBC') to --data-ciphers (currently 'AES-256-GCM') if you want to connect to this server.", StateTLSFailed, "no data cipher in common"},
		{"Received fatal SSL alert: unknown CA", StateTLSFailed,
			"does not know the CA of our certificate"},
		{"Received fatal SSL alert: certificate expired", StateCertExpired,
			"our certificate has expired"},
		{
			"OpenSSL: error:0A000415:SSL routines::sslv3 alert certificate expired:SSL alert number 45", StateCertExpired, "our certificate has expired"},
		{"OpenSSL: error:0A00042E:SSL routines::tlsv1 alert protocol version:SSL alert number 70",
			StateTLSFailed, "no TLS version or cipher in common"},
		{"TLS Error: cannot locate HMAC in incoming packet from [AF_INET]192.0.2.2:1194",
			StateTLSFailed, "control channel key"},
		{"tls-crypt unwrap error: packet authentication failed", StateTLSFailed,
			"control channel key"},
		{"TCP: connect to [AF_INET]192.0.2.2:443 failed: Connection refused", StateBackoff,
			"nothing listens"},
		{"read UDPv4 [ECONNREFUSED]: Connection refused (fd=4,code=111)", StateBackoff,
			"nothing listens"},
		{"TCP: connect to [AF_INET]192.0.2.2:443 failed: No route to host", StateBackoff,
			"no route"},
		{"write UDPv4 [ENETUNREACH]: Network is unreachable (fd=4,code=101)", StateBackoff,
			"no route"},
		{
			"Options error: Temporary directory (--tmp-dir) fails with '/tmp': Permission denied (errno=13)", StateConfigError, "refuses its configuration: Temporary directory"},
		{"Cannot load inline certificate file", StateConfigError,
			"Cannot load inline certificate file"},
		{"Cannot load private key file [[INLINE]]", StateConfigError,
			"passphrase is wrong, or it is damaged"},
		{"ERROR: Cannot ioctl TUNSETIFF tunztb0: Device or resource busy (errno=16)",
			StateConfigError, "Device or resource busy"},
		{"ERROR: Cannot open TUN/TAP dev /dev/net/tun: Permission denied (errno=13)",
			StateConfigError, "Permission denied"},
		{"MANAGEMENT: connect to unix socket /run/x failed: Permission denied", StateConfigError,
			"cannot reach our socket: Permission denied"},

		{"VERIFY OK: depth=1, CN=Example Provider CA", "", ""},
		{"Initialization Sequence Completed", "", ""},
		{"Sent fatal SSL alert: unsupported certificate", "", ""},
		{"TLS Error: TLS handshake failed", "", ""},
		{
			"Note: --cipher is not set. OpenVPN versions before 2.5 defaulted to BF-CBC as fallback when cipher negotiation failed in this case.", "", ""},
		{"Pushed option removed by filter: 'ping 10'", "", ""},
		{"Validating certificate extended key usage", "", ""},
	} {
		f, ok := classify(tc.line)
		if ok != (tc.state != "") || f.state != tc.state || !strings.Contains(f.cause, tc.cause) {
			t.Errorf("%s\n\tis %q: %q; want %q: %q", tc.line, f.state, f.cause, tc.state, tc.cause)
		}
		if ok && f.remedy == "" {
			t.Errorf("%s\n\thas no remedy", tc.line)
		}
	}
}

// FuzzClassify: a line is chosen by the other side in part; nothing in it may break us.
func FuzzClassify(f *testing.F) {
	f.Add("VERIFY ERROR: depth=0, error=certificate has expired: CN=%s%d, serial=1")
	f.Fuzz(func(t *testing.T, line string) {
		if g, ok := classify(line); ok && (g.cause == "" || g.state == "") {
			t.Errorf("%q became %+v", line, g)
		}
	})
}

func TestParseSession(t *testing.T) {
	env := func(pairs ...string) map[string]string {
		m := map[string]string{"ifconfig_local": "10.8.0.2", "ifconfig_netmask": "255.255.255.0",
			"tun_mtu": "1500"}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	lan := []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24"),
		netip.MustParsePrefix("172.16.0.0/12"), netip.MustParsePrefix("172.16.0.5/32"),
		netip.MustParsePrefix("fd77::/48"),
		netip.MustParsePrefix("fd00::/64")}
	for _, tc := range []struct {
		name     string
		env      map[string]string
		want     string // addrs | gateways | MTU | DNS
		err      string
		warnings int
	}{
		{name: "plain", env: env("route_vpn_gateway", "10.8.0.1"),
			want: "[10.8.0.2/24]|10.8.0.1|invalid IP|1500|[]"},
		{name: "both families", env: env("ifconfig_ipv6_local", "2001:db8::2",
			"ifconfig_ipv6_netbits", "64", "ifconfig_ipv6_remote", "2001:db8::1"),
			want: "[10.8.0.2/24 2001:db8::2/64]|invalid IP|2001:db8::1|1500|[]"},
		{name: "net30", env: map[string]string{"ifconfig_local": "10.8.0.6",
			"ifconfig_remote": "10.8.0.5"}, want: "[10.8.0.6/32]|10.8.0.5|invalid IP|1500|[]"},
		{name: "netmask with a hole", env: env("ifconfig_netmask", "255.0.255.0"),
			want: "[10.8.0.2/32]|invalid IP|invalid IP|1500|[]"},
		{name: "carrier-grade", env: env("ifconfig_local", "100.64.0.9"),
			want: "[100.64.0.9/24]|invalid IP|invalid IP|1500|[]"},

		{name: "nothing", env: map[string]string{}, err: "assigned no address"},
		{name: "in the LAN", env: env("ifconfig_local", "192.168.1.77"),
			err: "this host's own network 192.168.1.0/24"},
		{name: "in the LAN's IPv6", env: env("ifconfig_ipv6_local", "fd00::7"),
			err: "this host's own network fd00::/64"},
		{name: "in a wide network", env: env("ifconfig_local", "172.16.200.7",
			"foreign_option_1", "dhcp-option DNS 172.16.200.1"),
			want: "[172.16.200.7/24]|invalid IP|invalid IP|1500|[172.16.200.1]", warnings: 1},
		{name: "in a wide IPv6 network", env: env("ifconfig_ipv6_local", "fd77::7",
			"ifconfig_ipv6_netbits", "64"),
			want: "[10.8.0.2/24 fd77::7/64]|invalid IP|invalid IP|1500|[]", warnings: 1},
		{name: "the host's own address in a wide network",
			env: env("ifconfig_local", "172.16.0.5"), err: "own network 172.16.0.5/32"},
		{name: "loopback", env: env("ifconfig_local", "127.0.0.1"),
			err: "not an address of a host"},
		{name: "multicast", env: env("ifconfig_local", "224.0.0.1"),
			err: "not an address of a host"},
		{name: "broadcast", env: env("ifconfig_local", "255.255.255.255"),
			err: "not an address of a host"},
		{name: "this network", env: env("ifconfig_local", "0.1.2.3"),
			err: "not an address of a host"},
		{name: "link-local", env: env("ifconfig_local", "169.254.169.254"),
			err: "not an address of a host"},
		{name: "IPv6 loopback", env: env("ifconfig_ipv6_local", "::1"),
			err: "not an address of a host"},
		{name: "mapped", env: env("ifconfig_ipv6_local", "::ffff:192.168.1.1"),
			err: "not an IPv6 address"},
		{name: "zone", env: env("ifconfig_ipv6_local", "fe80::1%wan0"), err: "not an IPv6 address"},
		{name: "words", env: env("ifconfig_local", "$(reboot)"), err: "not an IPv4 address"},

		{name: "MTU too small", env: env("tun_mtu", "68"),
			want: "[10.8.0.2/24]|invalid IP|invalid IP|576|[]", warnings: 1},
		{name: "MTU too large", env: env("tun_mtu", "65535"),
			want: "[10.8.0.2/24]|invalid IP|invalid IP|1500|[]", warnings: 1},
		{name: "MTU below IPv6", env: env("tun_mtu", "1200", "ifconfig_ipv6_local", "2001:db8::2"),
			want: "[10.8.0.2/24]|invalid IP|invalid IP|1200|[]", warnings: 1},
		{name: "only IPv6 with such an MTU", env: map[string]string{"tun_mtu": "1200",
			"ifconfig_ipv6_local": "2001:db8::2"}, err: "only IPv6"},
		{name: "gateway is nonsense", env: env("route_vpn_gateway", "127.0.0.1"),
			want: "[10.8.0.2/24]|invalid IP|invalid IP|1500|[]"},

		{name: "resolvers in order", env: env("foreign_option_2", "dhcp-option DNS 10.8.0.1",
			"foreign_option_10", "dhcp-option DNS 9.9.9.9",
			"foreign_option_1", "dhcp-option DOMAIN example.net", "foreign_option_3",
			"dhcp-option DNS6 2001:db8::53",
			"dns_server_1_address_1", "198.51.100.1", "dns_server_2_address_1", "198.51.100.2",
			"dns_server_2_port_1", "853"),
			want: "[10.8.0.2/24]|invalid IP|invalid IP|1500|[198.51.100.1 10.8.0.1 2001:db8::53 9.9.9.9]"},
		{name: "a resolver over TLS", env: env("dns_server_1_address_1", "198.51.100.1",
			"dns_server_1_transport", "DoT", "dns_server_2_address_1", "198.51.100.2",
			"dns_server_2_transport", "plain"),
			want: "[10.8.0.2/24]|invalid IP|invalid IP|1500|[198.51.100.2]", warnings: 1},
		{name: "resolvers that cannot be", env: env("foreign_option_1",
			"dhcp-option DNS 127.0.0.53", "foreign_option_2", "dhcp-option DNS 192.168.1.1",
			"foreign_option_3", "dhcp-option DNS x",
			"foreign_option_4", "dhcp-option DNS6 ::ffff:192.168.1.1",
			// no prefix contains an address with a zone, that of the LAN neither
			"foreign_option_5", "dhcp-option DNS6 fd00::7%x"),
			want: "[10.8.0.2/24]|invalid IP|invalid IP|1500|[]", warnings: 5},
	} {
		t.Run(tc.name, func(t *testing.T) {
			s, warnings, err := parseSession(tc.env, lan)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want %q", err, tc.err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if got := fmt.Sprintf("%v|%v|%v|%d|%v", s.Addrs, s.Gateway4, s.Gateway6, s.MTU,
				s.DNS); got != tc.want {
				t.Errorf("got  %s\nwant %s", got, tc.want)
			}
			if len(warnings) != tc.warnings {
				t.Errorf("warnings %q, want %d", warnings, tc.warnings)
			}
		})
	}
}

// FuzzSession: whatever is pushed, what comes out is fit for the kernel.
func FuzzSession(f *testing.F) {
	f.Add("10.8.0.2", "255.255.255.0", "fd00::2", "1500", "dhcp-option DNS 10.8.0.1", "10.8.0.1")
	f.Fuzz(func(t *testing.T, a4, mask, a6, mtu, dns, gw string) {
		lan := netip.MustParsePrefix("192.168.0.0/16")
		s, _, err := parseSession(map[string]string{"ifconfig_local": a4, "ifconfig_netmask": mask,
			"ifconfig_ipv6_local": a6,
			"tun_mtu":             mtu, "foreign_option_1": dns, "route_vpn_gateway": gw,
			"dns_server_1_address_1": dns}, []netip.Prefix{lan})
		if err != nil {
			return
		}
		if s.MTU < 576 || s.MTU > 9000 || len(s.Addrs) == 0 || len(s.Addrs) > 2 {
			t.Errorf("%+v", s)
		}
		for _, p := range s.Addrs {
			if !p.IsValid() || lan.Contains(p.Addr()) || p.Addr().IsLoopback() ||
				p.Addr().IsMulticast() || p.Bits() == 0 {
				t.Errorf("address %v", p)
			}
		}
		for _, d := range s.DNS {
			if d.IsLoopback() || d.IsMulticast() || d.IsUnspecified() || lan.Contains(d) {
				t.Errorf("resolver %v", d)
			}
		}
	})
}

func TestLogBuffer(t *testing.T) {
	var r logBuffer
	now := time.Now()
	for i := range 3*logLines + 7 {
		r.add(now, "I", fmt.Sprint("line ", i))
	}
	for range 1000000 {
		r.add(now, "N", "again")
	}
	got := r.snapshot()
	if len(got) != logLines {
		t.Fatalf("%d lines are kept", len(got))
	}
	if last := got[logLines-1]; last.Text != "again" || last.Repeats != 999999 {
		t.Errorf("the repeated line is %+v", last)
	}
	for i, l := range got[:logLines-1] {
		if want := fmt.Sprint("line ", 2*logLines+8+i); l.Text != want {
			t.Fatalf("line %d is %q, want %q", i, l.Text, want)
		}
	}
	r.add(now, "I", strings.Repeat("x", 10*maxLogLine))
	if got := r.snapshot(); len(got[logLines-1].Text) > maxLogLine+10 {
		t.Error("a long line is kept whole")
	}
}

// TestServerList: the addresses of one server, then of the next, again and again; dead names are
// passed over.
func TestServerList(t *testing.T) {
	r := &testResolver{answers: map[string][]netip.Addr{
		"a.example.net": {netip.MustParseAddr("198.51.100.1"), netip.MustParseAddr("198.51.100.2")},
	}}
	p := &profile.Profile{Remotes: []profile.Remote{{Host: "a.example.net"},
		{Host: "dead.example.net"},
		{Host: "192.0.2.1"}}}
	c := newServerList(p, openNames(filepath.Join(t.TempDir(), "n"), r, plainName), Written)
	var got []string
	for range 5 {
		for range 2 { // without failure, the same again
			target, _, err := c.target(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, target.addr.String())
		}
		c.fail()
	}
	want := "198.51.100.1 198.51.100.1 198.51.100.2 198.51.100.2 192.0.2.1 192.0.2.1 198.51.100.1 198.51.100.1 198.51.100.2 198.51.100.2"
	if strings.Join(got, " ") != want {
		t.Errorf("got  %s\nwant %s", strings.Join(got, " "), want)
	}
	p.RandomOrder = true
	firsts := map[string]bool{}
	for range 200 {
		firsts[newServerList(p, c.names, Written).remotes[0].Host] = true
	}
	if len(firsts) != len(p.Remotes) {
		t.Errorf("in random order, only %v came first", firsts)
	}
}

// TestFastRound: after a session was lost, each server is given little time, once around; a single
// server is not.
func TestFastRound(t *testing.T) {
	r := &testResolver{answers: map[string][]netip.Addr{"three.example.net": {
		netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("192.0.2.2"),
		netip.MustParseAddr("192.0.2.3")}}}
	aim := func(c *serverList) {
		t.Helper()
		if _, _, err := c.target(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct {
		servers []string
		want    []bool // whether the first, second … one tried is given little time
	}{
		{[]string{"192.0.2.1"}, []bool{false, false}},
		{[]string{"192.0.2.1", "192.0.2.2", "192.0.2.3"}, []bool{true, true, true, false, false}},
		{[]string{"three.example.net"}, []bool{true, true, false, false, false}},
	} {
		p := &profile.Profile{}
		for _, s := range tc.servers {
			p.Remotes = append(p.Remotes, profile.Remote{Host: s})
		}
		c := newServerList(p, openNames(filepath.Join(t.TempDir(), "n"), r, plainName), Written)
		aim(c)
		if c.inFastRound() {
			t.Errorf("%v: in fastRounds before any session was lost", tc.servers)
		}
		c.beginFastRound()
		for i, want := range tc.want {
			aim(c)
			if got := c.inFastRound(); got != want {
				t.Errorf("%v: attempt %d is fastTimeout: %v, want %v", tc.servers, i, got, want)
			}
			c.fail()
		}
	}
}

// base is a profile that connects.
func base(t testing.TB) string {
	data, err := os.ReadFile("../profile/testdata/profiles/nord-style.ovpn")
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestNewTunnelChecks(t *testing.T) {
	p, _, err := profile.Parse([]byte(base(t)), "p", profile.Options{})
	if err != nil {
		t.Fatal(err)
	}
	good := Config{Name: "x", Profile: p,
		Credentials: &profile.Credentials{Username: "u", Password: "p"}, Device: "tunztb0",
		EnsureDevice: func() (string, error) { return "", nil }, RuntimeDir: "/x", StateDir: "/y"}
	if _, err := New(good); err != nil {
		t.Fatal(err)
	}
	for want, spoil := range map[string]func(*Config){
		"a name has":               func(c *Config) { c.Name = "../x" },
		"no profile":               func(c *Config) { c.Profile = nil },
		"no TUN device":            func(c *Config) { c.EnsureDevice = nil },
		"a user name and password": func(c *Config) { c.Credentials = nil },
		"a line break": func(c *Config) {
			c.Credentials = &profile.Credentials{Username: "u", Password: "p\nsignal SIGTERM"}
		},
	} {
		bad := good
		spoil(&bad)
		if _, err := New(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

// TestOrders: servers are tried as written, by the time that connecting took, or with the preferred
// profile first.
func TestOrders(t *testing.T) {
	p := &profile.Profile{}
	for _, name := range []string{"a", "b", "c"} {
		p.Remotes = append(p.Remotes, profile.Remote{Host: "192.0.2." + string(name[0]-'a'+'1'),
			Member: name})
	}
	n := openNames(filepath.Join(t.TempDir(), "n"), &testResolver{}, plainName)
	next := func(c *serverList) string {
		t.Helper()
		got, _, err := c.target(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return got.remote.Member
	}
	c := newServerList(p, n, Fastest)
	for i, took := range []time.Duration{30, 10, 20} {
		if got := next(c); got != p.Remotes[i].Member {
			t.Errorf("what was never tried comes as written: %s", got)
		}
		c.pace.record(c.current, took*time.Millisecond)
		c.skip()
	}
	for _, want := range []string{"b", "c", "a"} {
		if got := next(c); got != want {
			t.Errorf("by time: %s, want %s", got, want)
		}
		c.skip()
	}
	c = newServerList(p, n, Written)
	c.prefer("c")
	if got := next(c); got != "c" {
		t.Errorf("preferred: %s", got)
	}
	c.prefer("nosuch")
	if got := next(c); got != "c" {
		t.Errorf("a name that is not there changes nothing: %s", got)
	}
}

// TestMeasuring: each server is asked once at the first start, the quickest comes first then, and a
// restart remembers.
func TestMeasuring(t *testing.T) {
	p := &profile.Profile{}
	for _, name := range []string{"a", "b", "c", "d"} {
		p.Remotes = append(p.Remotes, profile.Remote{Host: "192.0.2." + string(name[0]-'a'+'1'),
			Member: name})
	}
	path := filepath.Join(t.TempDir(), "pace")
	start := func() *serverList {
		c := newServerList(p, openNames(filepath.Join(t.TempDir(), "n"), &testResolver{}, plainName),
			Fastest)
		c.pace = openPace(path)
		c.sort()
		c.measure()
		return c
	}
	next := func(c *serverList) target {
		t.Helper()
		got, _, err := c.target(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return got
	}
	c := start()
	for i, took := range []time.Duration{30, 10, 0, 20} {
		got := next(c)
		if !got.measure || got.remote != p.Remotes[i] {
			t.Fatalf("measured: %+v", got)
		}
		if took > 0 { // c does not answer
			c.pace.record(got.remote, took*time.Millisecond)
		}
	}
	if err := c.pace.save(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"b", "d", "a", "c"} {
		if got := next(c); got.measure || got.remote.Member != want {
			t.Errorf("by time: %+v, want %s", got, want)
		}
		c.skip()
	}
	c = start()
	if got := next(c); !got.measure || got.remote.Member != "c" {
		t.Errorf("after a restart: %+v, want c to be measured", got)
	}
	if got := next(c); got.measure || got.remote.Member != "b" {
		t.Errorf("after a restart: %+v, want b", got)
	}
	// What a person selected comes without measuring.
	c = start()
	c.prefer("a")
	if got := next(c); got.measure || got.remote.Member != "a" {
		t.Errorf("selected: %+v", got)
	}
	// A round has an end.
	c = start()
	c.pace.known = map[string]paceRecord{}
	c.measure()
	c.pace.until = c.pace.now()
	if got := next(c); got.measure {
		t.Errorf("after the round: %+v", got)
	}
	// Old times count no more, nor those of a clock that was wrong.
	now := c.pace.now()
	for age, want := range map[time.Duration]time.Duration{
		time.Hour: 5, 31 * 24 * time.Hour: unknownPace, -time.Hour: unknownPace} {
		c.pace.known[paceKey(p.Remotes[0])] = paceRecord{Took: 5, Time: now.Add(-age)}
		if got := c.pace.of(p.Remotes[0]); got != want {
			t.Errorf("of an age of %v: %v", age, got)
		}
	}
}

func TestUntilRotation(t *testing.T) {
	at := 4*time.Hour + 30*time.Minute
	now := time.Date(2026, 5, 1, 4, 0, 0, 0, time.UTC)
	if got := untilRotation(at, now); got != 30*time.Minute {
		t.Errorf("before the time: %v", got)
	}
	if got := untilRotation(at, now.Add(30*time.Minute)); got != 24*time.Hour {
		t.Errorf("at the time: %v", got)
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	// The night of 29 March 2026 lacks the hour from 2 to 3, that of 25 October has it twice.
	for day, want := range map[time.Time]time.Duration{
		time.Date(2026, 3, 29, 0, 0, 0, 0, berlin):  at - time.Hour,
		time.Date(2026, 10, 25, 0, 0, 0, 0, berlin): at + time.Hour,
		time.Date(2026, 3, 28, 4, 30, 0, 0, berlin): 23 * time.Hour,
	} {
		if got := untilRotation(at, day); got != want {
			t.Errorf("from %v: %v, want %v", day, got, want)
		}
	}
}

// The servers change once, when the time of day comes, and not when the clock is set past it.
func TestRotates(t *testing.T) {
	at := 4 * time.Hour
	before := time.Date(2026, 5, 1, 3, 59, 59, 0, time.UTC)
	for after, want := range map[time.Duration]bool{0: false, time.Second / 2: false,
		time.Second: true, 10 * time.Second: true, 2 * time.Hour: false, -time.Hour: false,
		50 * 365 * 24 * time.Hour: false} {
		if got := rotates(&at, before, before.Add(after)); got != want {
			t.Errorf("after %v: %v", after, got)
		}
	}
	if on := before.Add(time.Second); rotates(&at, on, on.Add(time.Second)) ||
		rotates(nil, before, on) {
		t.Error("they change twice, or without a time")
	}
}
