package endpoint

import (
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"ztbridge/bridge/openvpn/process"
)

var update = flag.Bool("update", false, "write the golden files again")

var (
	testPool4 = netip.MustParsePrefix("10.83.64.0/20")
	testPool6 = netip.MustParsePrefix("fd5a:5442:4947::/64")
)

func TestDivide(t *testing.T) {
	pools, err := Divide(testPool4, testPool6, 2)
	if err != nil {
		t.Fatal(err)
	}
	want := []Pool{
		{netip.MustParsePrefix("10.83.64.0/22"), netip.MustParsePrefix("fd5a:5442:4947::/66")},
		{netip.MustParsePrefix("10.83.68.0/22"),
			netip.MustParsePrefix("fd5a:5442:4947:0:4000::/66")},
	}
	if !slices.Equal(pools, want) {
		t.Errorf("pools %v, want %v", pools, want)
	}
	// One listener more must not move the clients of the others.
	more, err := Divide(testPool4, testPool6, 4)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(more[:2], pools) {
		t.Errorf("with more listeners the first two have %v, want %v", more[:2], pools)
	}
}

func TestPoolsAreDisjointAndInside(t *testing.T) {
	for _, tc := range []struct {
		v4, v6 string
		n      int
	}{
		{"10.0.0.0/8", "fd00::/48", 1}, {"10.83.64.0/20", "fd00::/64", 8}, {"192.168.9.0/26",
			"fd00::/112", 5},
		{"172.16.0.0/12", "fd00::/56", 33},
	} {
		whole := Pool{netip.MustParsePrefix(tc.v4), netip.MustParsePrefix(tc.v6)}
		pools, err := Divide(whole.V4, whole.V6, tc.n)
		if err != nil {
			t.Errorf("%+v: %v", tc, err)
			continue
		}
		for i, p := range pools {
			if !whole.V4.Contains(p.V4.Addr()) || !whole.V6.Contains(p.V6.Addr()) {
				t.Errorf("%+v: %v is outside", tc, p)
			}
			if b := p.V6.Bits(); b < 64 || b > 124 {
				t.Errorf("%+v: openvpn refuses %s", tc, p.V6)
			}
			for _, o := range pools[:i] {
				if o.V4.Overlaps(p.V4) || o.V6.Overlaps(p.V6) {
					t.Errorf("%+v: %v and %v overlap", tc, o, p)
				}
			}
		}
	}
	for _, n := range []int{0, 1000} {
		if _, err := Divide(netip.MustParsePrefix("10.0.0.0/26"), testPool6, n); err == nil {
			t.Errorf("a /26 was divided among %d", n)
		}
	}
}

func FuzzHost(f *testing.F) {
	f.Add(uint32(2), uint8(20), uint8(64))
	f.Add(uint32(1021), uint8(22), uint8(112))
	f.Fuzz(func(t *testing.T, host uint32, bits4, bits6 uint8) {
		v4 := netip.PrefixFrom(netip.MustParseAddr("10.0.0.0"), 8+int(bits4%22)).Masked()
		v6 := netip.PrefixFrom(netip.MustParseAddr("fd00::"), 64+int(bits6%61)).Masked()
		p := Pool{v4, v6}
		addrs, err := p.Client(host)
		if err != nil {
			return
		}
		for i, a := range addrs {
			if prefix := p.Prefixes()[i]; !prefix.Contains(a) || a == p.Server()[i].Addr() {
				t.Errorf("host %d has %s in %s", host, a, prefix)
			}
			if got, ok := p.Host(a); !ok || got != host {
				t.Errorf("%s is host %d, %v; want %d", a, got, ok, host)
			}
		}
	})
}

func TestCheckAccess(t *testing.T) {
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	good := Client{Name: "phone", Serial: "4f01", Host: 2, Expires: now.Add(time.Hour)}
	revoked, expired := good, good
	revoked.Revoked, expired.Expires = true, now
	for name, tc := range map[string]struct {
		c      Client
		lookup error
		serial string
		reason string
	}{
		"good":    {good, nil, "4f01", ""},
		"unknown": {Client{}, ErrUnknownClient, "4f01", "unknown client"},
		"an unreadable registry": {Client{}, errors.New("disk"), "4f01",
			"the key store cannot be read"},
		"rules not in force": {Client{}, fmt.Errorf("%w: it takes long", ErrNotReady), "4f01",
			"its rules are not in force"},
		"revoked":             {revoked, nil, "4f01", "revoked"},
		"expired":             {expired, nil, "4f01", "expired"},
		"another certificate": {good, nil, "4f02", "superseded certificate"},
		"no serial at all":    {good, nil, "", "superseded certificate"},
	} {
		no := checkAccess(request{name: "phone", serial: tc.serial}, tc.c, tc.lookup, now)
		if (no == nil) != (tc.reason == "") || no != nil && no.reason != tc.reason {
			t.Errorf("%s: %v, want %q", name, no, tc.reason)
		}
	}
}

func TestParseRequest(t *testing.T) {
	r := parseRequest(map[string]string{
		"common_name": "phone", "tls_serial_hex_0": "0F:a0:01", "trusted_ip6": "::ffff:192.0.2.7",
		"trusted_port": "4711",
		"IV_VER":       "3.9\x1b[31m", "IV_PLAT": "win",
	})
	want := request{
		name: "phone", serial: "fa001", remote: netip.MustParseAddrPort(
			"192.0.2.7:4711"), program: "3.9[31m win", windows: true,
	}
	if r != want {
		t.Errorf("%+v, want %+v", r, want)
	}
}

func testListener(t *testing.T, proto string, port uint16, i int) Listener {
	t.Helper()
	pools, err := Divide(testPool4, testPool6, 2)
	if err != nil {
		t.Fatal(err)
	}
	return Listener{Proto: proto, Port: port, Device: "tunztb." + proto, Pool: pools[i]}
}

func TestAnswer(t *testing.T) {
	l := testListener(t, "udp", 1194, 0)
	dns := []netip.Addr{netip.MustParseAddr("9.9.9.9"), netip.MustParseAddr("2620:fe::fe")}
	networks := []netip.Prefix{netip.MustParsePrefix("10.147.17.2/24"),
		netip.MustParsePrefix("fd80::/40")}
	var b strings.Builder
	for _, tc := range []struct {
		name string
		c    Client
		r    request
	}{
		{"full tunnel", Client{Host: 2}, request{}},
		{"full tunnel, Windows", Client{Host: 2}, request{windows: true}},
		{"full tunnel, own resolvers", Client{Host: 2, NoDNS: true}, request{}},
		{"network only", Client{Host: 3, NetworkOnly: true}, request{windows: true}},
		{"network only, own resolvers", Client{Host: 3, NetworkOnly: true, NoDNS: true}, request{}},
	} {
		lines, _, err := clientSettings(tc.c, tc.r, l, dns, networks)
		if err != nil {
			t.Fatal(err)
		}
		b.WriteString("# " + tc.name + "\n" + strings.Join(lines, "\n") + "\n")
	}
	golden(t, "answers.golden", b.String())
	// The listener's own pool comes with the address; another's needs a route.
	pools := append(l.Pool.Prefixes(), testListener(t, "tcp", 443, 1).Pool.Prefixes()...)
	lines, _, err := clientSettings(Client{Host: 3, NetworkOnly: true, NoDNS: true}, request{}, l,
		nil,
		pools)
	if want := []string{`push "route 10.83.68.0 255.255.252.0"`,
		`push "route-ipv6 fd5a:5442:4947:0:4000::/66"`}; err != nil ||
		!slices.Equal(lines[2:], want) {
		t.Errorf("routes to the pools: %q, %v; want %q", lines[2:], err, want)
	}
	if _, _, err := clientSettings(Client{Host: 5000}, request{}, l, nil, nil); err == nil {
		t.Error("a host number outside the pool was answered")
	}
}

func TestConf(t *testing.T) {
	k := Keys{CA: "CA\n", Cert: "CERT\n", Key: "KEY\n", CryptV2: "CRYPT\n"}
	web := netip.MustParseAddrPort("127.0.0.1:8443")
	golden(t, "udp.golden", conf(testListener(t, "udp", 1194, 0), k, web,
		host{ipv6: true, aes: true},
		"/run/ztbridge/endpoint/udp1194"))
	golden(t, "tcp.golden", conf(testListener(t, "tcp", 443, 1), k, web, host{},
		"/run/ztbridge/endpoint/tcp443"))
	if text := conf(testListener(t, "tcp", 443, 1), k, netip.AddrPort{}, host{},
		"/x"); strings.Contains(text, "port-share") {
		t.Error("without a web server the port is shared")
	}
}

// The first cipher is the one that the processor computes fastest.
func TestCiphersFollowTheProcessor(t *testing.T) {
	for aes, first := range map[bool]string{true: "AES-256-GCM", false: "CHACHA20-POLY1305"} {
		list := strings.Split(host{aes: aes}.ciphers(), ":")
		if list[0] != first {
			t.Errorf("AES instructions %v: %v, want %s first", aes, list, first)
		}
		slices.Sort(list)
		if want := []string{"AES-128-GCM", "AES-256-GCM", "CHACHA20-POLY1305"}; !slices.Equal(list,
			want) {
			t.Errorf("AES instructions %v: %v, want all of %v", aes, list, want)
		}
	}
	if flags, err := os.ReadFile("/proc/cpuinfo"); err == nil && runtime.GOARCH == "amd64" {
		if want := strings.Contains(string(flags), " aes "); hasAES() != want {
			t.Errorf("hasAES is %v, the kernel says %v", hasAES(), want)
		}
	}
}

func TestOldestPending(t *testing.T) {
	lines := []string{"TITLE,OpenVPN", "HEADER,CLIENT_LIST,Common Name", "CLIENT_LIST,short"}
	line := func(name string, cid int) string {
		return fmt.Sprintf( // few of each source
			"CLIENT_LIST,%s,203.0.113.%d:4000,,,0,0,2026-11-29 19:44:13,1795981453,UNDEF,%d,%d,BF-CBC",
			name, cid%256, cid, cid)
	}
	for i := range maxPending + 20 {
		lines = append(lines, line("UNDEF", 1000-i)) // in no order
	}
	lines = append(lines, line("phone", 1), line("UNDEF", 2)) // the latter is a client of that name
	admitted := map[int]bool{2: true}
	oldest := 1000 - maxPending - 20 + 1
	excess, ending := oldestPending(lines, admitted, nil)
	if len(excess) != 20 || excess[0] != oldest || excess[19] != oldest+19 {
		t.Errorf("to be ended are %v, want the 20 from %d on", excess, oldest)
	}
	excess, ending = oldestPending(lines, admitted, ending)
	if len(excess) != 0 || len(ending) != 20 {
		t.Errorf("while those end, more are to be ended: %v; ending %v", excess, ending)
	}
	_, ending = oldestPending(lines[:10], admitted, ending)
	if len(ending) != 0 {
		t.Errorf("those that are gone are not forgotten: %v", ending)
	}
}

// Of one source, whose many addresses of IPv6 count as one, there are few; newcomers of others stay
// beside it, and beside many sources with many each.
func TestOldestPendingOfOne(t *testing.T) {
	for name, c := range map[string]struct {
		address func(i int) string
		n, want int // that are ended
	}{
		"IPv4":                 {func(int) string { return "198.51.100.7:4000" }, 100, 100 - maxPendingOfOne},
		"IPv4, mapped":         {func(int) string { return "::ffff:198.51.100.7" }, 100, 100 - maxPendingOfOne},
		"IPv6, one address":    {func(int) string { return "2001:db8::7" }, 100, 100 - maxPendingOfOne},
		"IPv6, many addresses": {func(i int) string { return fmt.Sprintf("2001:db8::%x", i) }, 100, 100 - maxPendingOfOne},
		"not an address":       {func(int) string { return "?" }, 100, 100 - maxPendingOfOne},
		"few":                  {func(int) string { return "198.51.100.7:1" }, maxPendingOfOne, 0},
		"ten sources": {func(i int) string { return fmt.Sprintf("198.51.100.%d:1", i%10) }, 200,
			200 + 2 - maxPending},
	} {
		var lines []string
		// The newcomers, of two sources, are the oldest.
		for i, address := range slices.Concat([]string{"203.0.113.9:1", "2001:db8:1::1"},
			slices.Collect(func(yield func(string) bool) {
				for i := range c.n {
					if !yield(c.address(i)) {
						return
					}
				}
			})) {
			lines = append(lines, fmt.Sprintf("CLIENT_LIST,UNDEF,%s,,,0,0,,,UNDEF,%d,0,", address, i))
		}
		excess, _ := oldestPending(lines, nil, nil)
		if len(excess) != c.want || slices.Contains(excess, 0) || slices.Contains(excess, 1) {
			t.Errorf("%s: %d are ended, want %d and no newcomer: %v", name, len(excess), c.want,
				excess)
		}
	}
}

// FuzzOldestPending: a client's name is in the status that openvpn gives. Whoever is admitted
// stays.
func FuzzOldestPending(f *testing.F) {
	f.Add(
		"TITLE,OpenVPN\nCLIENT_LIST,UNDEF,::1,,,0,0,2026-11-29 19:44:13,1795981453,UNDEF,7,7,BF-CBC", 3, 7)
	f.Add("CLIENT_LIST,UNDEF,,,,,,,,,99999999999999999999,\nCLIENT_LIST,UNDEF,,,,,,,,,-1,", -1, 0)
	f.Fuzz(func(t *testing.T, status string, admitted, ending int) {
		lines := strings.Split(status, "\n")
		excess, still := oldestPending(lines, map[int]bool{admitted: true},
			map[int]bool{ending: true})
		if slices.Contains(excess, admitted) || still[admitted] {
			t.Errorf("client %d is admitted, and ended", admitted)
		}
		if slices.Contains(excess, ending) && ending != admitted {
			t.Errorf("client %d is ended once more", ending)
		}
		if len(excess) > max(0, len(lines)-maxPendingOfOne) {
			t.Errorf("%d of %d connections are ended", len(excess), len(lines))
		}
	})
}

// What a person is told to do follows from what is wrong.
func TestRemedy(t *testing.T) {
	l := Listener{Proto: "tcp", Port: 443}
	for _, c := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("starting: %w", process.ErrNotInstalled), "apt install openvpn"},
		{&deviceError{"tunztb.tcp443", errors.New("no such device")}, "modprobe tun"},
		{errors.New("openvpn ended: Cannot open TUN/TAP dev /dev/net/tun: No such file"),
			"modprobe tun"},
		{errors.New("openvpn ended: TCP/UDP: Socket bind failed on local address " +
			"[AF_INET6][undef]:443: Address already in use (errno=98) (exited with code 1)"),
			"ss -tlnp 'sport = :443'"},
		{errors.New("openvpn ended: TCP/UDP: Socket bind failed on local address " +
			"[AF_INET6][undef]:443: Permission denied (errno=13)"), "systemctl restart ztbridge"},
		{errors.New("openvpn ended: Options error: Unrecognized option"), "openvpn 2.6 or later"},
		{errors.New("openvpn ended: Cannot load certificate file [[INLINE]]"), "import-ca"},
		{fmt.Errorf("writing the revocation list: %w", unix.ENOSPC), "df -h"},
		{errors.New("killed by killed"), "journalctl -u ztbridge"},
	} {
		if got := remedy(l, c.err); !strings.Contains(got, c.want) {
			t.Errorf("%v: %q, want something with %q", c.err, got, c.want)
		}
	}
}

// What an earlier openvpn printed is not why a later one ended.
func TestReasonIsOfThisProcess(t *testing.T) {
	l := testServer(t, &fakeRegistry{}, nil, nil).listeners[0]
	l.Device, l.launcher.Program = "lo", "/nonexistent/openvpn"
	l.logLine("TCP/UDP: Socket bind failed: Address already in use (errno=98)")
	if _, _, err := l.start(Keys{}, ""); !errors.Is(err, process.ErrNotInstalled) || l.last != "" {
		t.Errorf("%v, after %q", err, l.last)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := "testdata/" + name
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("%s differs (-update writes it):\n%s", path, got)
	}
}

func TestNewRefuses(t *testing.T) {
	udp, tcp := testListener(t, "udp", 1194, 0), testListener(t, "tcp", 443, 1)
	overlapping, bare := tcp, tcp
	overlapping.Pool.V6 = udp.Pool.V6
	bare.Pool.V6 = netip.Prefix{}
	if _, err := New(Config{RuntimeDir: "/run/x", Listeners: []Listener{udp, tcp}}); err != nil {
		t.Error(err)
	}
	for name, list := range map[string][]Listener{
		"none": nil, "a pool twice": {udp, overlapping}, "no IPv6": {udp, bare}, "no protocol": {
			{Pool: udp.Pool}},
	} {
		if _, err := New(Config{RuntimeDir: "/run/x", Listeners: list}); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if _, err := New(Config{RuntimeDir: "run/x", Listeners: []Listener{udp, tcp}}); err == nil {
		t.Error("a relative directory: accepted")
	}
}
