package doctor

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var update = flag.Bool("update", false, "write the golden files")

// healthy returns the facts of a box with a ZeroTier network and two tunnels that lacks nothing.
func healthy() Facts {
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	home := Network{ID: "abcdef0123000001", Name: "home", Iface: "ztabcdefgh", Status: "ok",
		Addresses: []netip.Addr{netip.MustParseAddr("10.147.17.1"),
			netip.MustParseAddr("fd80:56c2::1")}}
	return Facts{
		Now: now,
		Host: Host{
			Links: []Link{{Name: "eth0", Up: true, Addrs: []netip.Prefix{
				netip.MustParsePrefix("192.168.1.5/24"), netip.MustParsePrefix("fe80::1/64")}}},
			Defaults: []string{"default via 192.168.1.1 dev eth0"},
			Programs: map[string]Program{openvpn: {"/usr/sbin/openvpn", "2.6.14"},
				zerotierOne: {"/usr/sbin/zerotier-one", "1.14.1"}},
			Lookups: []Lookup{{Name: "vpn.example"}},
			Latest:  now.Add(-time.Hour),
		},
		Config: Config{Path: "/etc/ztbridge/ztbridge.yaml", Tunnels: true,
			Networks: []Network{{ID: home.ID, Name: home.Name}}},
		Daemon: &Daemon{
			Networks:  []Network{home},
			Ingresses: []string{"ztabcdefgh"},
			Egresses: []Egress{
				{Name: "provider", Kind: "openvpn", State: "up", Usable: true, Answers: true,
					RTT: 12345 * time.Microsecond},
				{Name: "friend", Kind: "zerotier", Network: "home", State: "up", Usable: true,
					Answers: true},
			},
			Policies: []Policy{{Name: "policy[0]", Wanted: []string{"provider", "friend"},
				Egress: "provider", Why: "first choice"}},
		},
	}
}

var cases = []struct {
	name  string
	spoil func(*Facts)
	fails []string // the checks that fail by themselves
}{
	{"healthy", func(*Facts) {}, nil},
	{"no-cable", func(f *Facts) {
		f.Host.Links[0].Up, f.Host.Links[0].Addrs, f.Host.Defaults = false, nil, nil
		f.Host.Lookups[0].Err = "lookup vpn.example: network is unreachable"
		f.Daemon.Networks[0].Status = "joining"
		f.Daemon.Egresses[0] = Egress{Name: "provider", Kind: "openvpn", State: "resolving"}
		f.Daemon.Egresses[1] = Egress{Name: "friend", Kind: "zerotier", Network: "home",
			State: "down"}
		f.Daemon.Policies[0].Egress, f.Daemon.Policies[0].Why = "", "none of its exits is connected"
	}, []string{link}},
	{"no-dns", func(f *Facts) {
		f.Host.Lookups[0].Err = "lookup vpn.example on 192.168.1.1:53: server misbehaving"
		f.Daemon.Egresses[0] = Egress{Name: "provider", Kind: "openvpn", State: "resolving"}
		f.Daemon.Policies[0].Egress, f.Daemon.Policies[0].Why = "friend", "provider is down"
	}, []string{resolving}},
	{"router-passes-nothing", func(f *Facts) {
		f.Daemon.Reach = Trouble{Message: "nothing on the Internet answers this box",
			Remedy: "restart the router"}
		f.Host.Lookups[0].Err = "lookup vpn.example on 192.168.1.1:53: i/o timeout"
		f.Daemon.Egresses[0] = Egress{Name: "provider", Kind: "openvpn", State: "backoff"}
		f.Daemon.Policies[0].Egress, f.Daemon.Policies[0].Why = "", "none of its exits is connected"
	}, []string{reach}},
	{"connections-full", func(f *Facts) {
		f.Daemon.Problems = []Problem{{Name: connections, Fails: true, Trouble: Trouble{
			Message: "new connections get no answer", Remedy: "let it follow more",
			Command: "sysctl -w x=2"}}}
		f.Host.Lookups[0].Err = "lookup vpn.example on 192.168.1.1:53: operation not permitted"
	}, []string{connections}},
	{"another-fault-than-a-name", func(f *Facts) {
		f.Host.Lookups[0].Err = "lookup vpn.example on 192.168.1.1:53: no such host"
		f.Daemon.Egresses[0] = Egress{Name: "provider", Kind: "openvpn", State: "auth-failed",
			Trouble: Trouble{Message: "the server rejected the user name or password",
				Remedy: "correct them"}}
		f.Daemon.Policies[0].Egress, f.Daemon.Policies[0].Why = "friend", "provider is down"
	}, []string{resolving, "egress provider"}},
	{"retired-server", func(f *Facts) {
		f.Host.Lookups = nil
		for i := range 10 {
			l := Lookup{Name: fmt.Sprintf("vpn%d.example", i)}
			if i < 7 {
				l.Err = "lookup " + l.Name + ": no such host"
			}
			f.Host.Lookups = append(f.Host.Lookups, l)
		}
	}, nil},
	{"wrong-credentials", func(f *Facts) {
		f.Daemon.Egresses[0] = Egress{Name: "provider", Kind: "openvpn", State: "auth-failed",
			Trouble: Trouble{
				Message: "tunnel provider is auth-failed: the provider refuses user name or password",
				Remedy:  "correct them in provider.auth, then: systemctl reload ztbridge"}}
		f.Daemon.Policies[0].Egress, f.Daemon.Policies[0].Why = "friend", "provider is down"
	}, []string{"egress provider"}},
	{"not-authorised", func(f *Facts) {
		f.Daemon.Networks[0].Status, f.Daemon.Networks[0].Addresses = "access-denied", nil
		f.Daemon.Networks[0].Trouble = Trouble{
			Message: "network abcdef0123000001 does not let this box in",
			Remedy:  "authorise member 1122334455 at its controller"}
		f.Daemon.Egresses[1] = Egress{Name: "friend", Kind: "zerotier", Network: "home",
			State: "down"}
	}, []string{"network home"}},
	{"bad-configuration-and-no-daemon", func(f *Facts) {
		f.Config = Config{Path: f.Config.Path, Err: "ztbridge.yaml:3: egres: unknown key",
			Hint: "did you mean egress?"}
		f.Daemon = nil
	}, []string{configured}},
	{"not-running", func(f *Facts) { f.Daemon = nil }, []string{daemon}},
	{"old-openvpn-and-wrong-clock", func(f *Facts) {
		f.Host.Programs[openvpn] = Program{"/usr/sbin/openvpn", "2.5.1"}
		f.Now = time.Date(1970, 1, 1, 0, 0, 20, 0, time.UTC)
		f.Daemon.Egresses[0] = Egress{Name: "provider", Kind: "openvpn", State: "tls-failed"}
		f.Daemon.Policies[0].Egress, f.Daemon.Policies[0].Why = "friend", "provider is down"
	}, []string{clockTime, openvpn}},
	{"another-vpn-and-somebody-who-undoes", func(f *Facts) {
		f.Host.Foreign = []string{"rule 5270: from all lookup 52",
			"0.0.0.0/1 via 10.2.0.1 dev tun0"}
		f.Daemon.Pending = "ip rule add iif ztabcdefgh unreachable\nip rule add iif ztabcdefgh lookup 23101\n"
	}, []string{"kernel"}},
	{"probes-unanswered", func(f *Facts) {
		f.Daemon.Egresses[0].State, f.Daemon.Egresses[0].Answers, f.Daemon.Egresses[0].RTT = "degraded", false, 0
		f.Daemon.Policies[0].Egress, f.Daemon.Policies[0].Why = "friend",
			"provider does not answer probes"
		f.Daemon.Unwell = Trouble{Message: "no ZeroTier root answers",
			Remedy: "check that UDP port 9993 may leave"}
	}, []string{"probes provider"}},
	{"member-away-and-prefix-lost", func(f *Facts) {
		f.Daemon.Egresses[1] = Egress{Name: "friend", Kind: "zerotier", Network: "home",
			State: "unreachable",
			Trouble: Trouble{Message: "neither the member of friend nor anything behind it answers",
				Remedy: "see whether that machine runs"}}
		f.Daemon.Egresses = append(f.Daemon.Egresses,
			Egress{Name: "direct", Kind: "wan", State: "up", Usable: true, Answers: true,
				Prefix: Trouble{Message: "answers to addresses of 2001:db8:1:2:8000::/80 do not come back",
					Remedy: "have it routed to this box"}})
	}, []string{"egress friend"}},
	{"own-resolver", func(f *Facts) {
		f.Host.Resolvers = []Resolver{{Addr: netip.IPv4Unspecified(), Program: "dnsmasq"},
			{Addr: netip.MustParseAddr("127.0.0.53"), Device: "lo"}}
	}, nil},
}

func TestDiagnose(t *testing.T) {
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := healthy()
			c.spoil(&f)
			report := Diagnose(f)
			if got := report.Failures(); !slices.Equal(got, c.fails) {
				t.Errorf("fails: %q, want %q", got, c.fails)
			}
			golden(t, c.name, report.String())
		})
	}
}

// What works is said to work, even if something that it depends on does not look well.
func TestWhatWorksIsOK(t *testing.T) {
	f := healthy()
	// the tunnel lives on the answer of yesterday
	f.Host.Lookups[0].Err = "lookup vpn.example: timeout"
	for _, r := range Diagnose(f) {
		if (r.Verdict == OK) == (r.Check == resolving) {
			t.Errorf("%s: %s", r.Check, r.Verdict)
		}
	}
}

// Every check comes after what it needs, or it would be taken for a failure of its own.
func TestChainIsInOrder(t *testing.T) {
	seen := map[string]bool{}
	for _, c := range chain(healthy()) {
		if seen[c.name] {
			t.Errorf("%s: named twice", c.name)
		}
		for _, need := range c.needs {
			if !seen[need] {
				t.Errorf("%s comes before %s, which it needs", c.name, need)
			}
		}
		seen[c.name] = true
	}
}

func TestLinesAreNarrow(t *testing.T) {
	for _, c := range cases {
		f := healthy()
		c.spoil(&f)
		for line := range strings.Lines(Diagnose(f).String()) {
			if n := len([]rune(strings.TrimRight(line, "\n"))); n > width {
				t.Errorf("%s: %d columns: %s", c.name, n, line)
			}
		}
	}
}

func TestMembers(t *testing.T) {
	guest := Network{ID: "abcdef0123000002", Name: "guest", Iface: "ztqrstuvwx",
		Addresses: []netip.Addr{netip.MustParseAddr("203.0.113.9")}}
	golden(t, "members", Members([]Network{healthy().Daemon.Networks[0], guest}))
	golden(t, "members-unknown", Members(healthy().Config.Networks))
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name+".golden")
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
		t.Errorf("%s differs (see all by `go test -update` and `git diff`); got:\n%s", path, got)
	}
}

func TestOlder(t *testing.T) {
	for version, want := range map[string]bool{
		"2.6.14": false, "2.6_rc1": false, "2.7": false, "3.0": false, "2.5.9": true, "1.9": true,
		"": false, "git": false,
	} {
		if got := older(version, leastOpenVPN); got != want {
			t.Errorf("%q: %v, want %v", version, got, want)
		}
	}
}

func TestForeignRulesAndRoutes(t *testing.T) {
	rules := []string{
		"0: from all lookup local", "5210: from all fwmark 0x80000/0xff0000 lookup main",
		"5270: from all lookup 52", "5271: from all lookup 53",
		"15000: from all iif ztabc lookup 23100 proto 90",
		"32700: from all iif ztabcdefgh unreachable", "32700: from all iif ztabcdefgh lookup 7",
		"32701: from all to 10.147.17.0/24 lookup main suppress_prefixlength 23",
		"32702: from all to 10.147.17.0/24 unreachable", "32701: from all lookup 7",
		"32766: from all lookup main", "32767: from all lookup default",
		// of others: a LAN behind this box, a mark, one network
		"200: from 192.168.50.0/24 lookup 300", "201: from all to 192.168.60.0/24 lookup 300",
		"202: from all fwmark 0x80000/0xff0000 unreachable", "203: from all iif lan0 lookup 300",
		// wg-quick, and one of this box's own address
		"204: not from all fwmark 0xca6c lookup 51820", "205: from 192.168.1.0/24 lookup 300",
		"206: from all iif lo lookup 300", "207: from all to 128.0.0.0/1 lookup 300",
	}
	if got, want := foreignRules(rules, func(table string) bool { return table != "52" },
		[]netip.Addr{netip.MustParseAddr("192.168.1.5")}),
		[]string{"rule 5271: from all lookup 53", "rule 32701: from all lookup 7",
			"rule 204: not from all fwmark 0xca6c lookup 51820",
			"rule 205: from 192.168.1.0/24 lookup 300", "rule 206: from all iif lo lookup 300",
			"rule 207: from all to 128.0.0.0/1 lookup 300"}; !reflect.DeepEqual(got, want) {
		t.Errorf("rules %q, want %q", got, want)
	}
	main := []string{"0.0.0.0/1 via 10.2.0.1 dev tun0", "default via 192.168.1.1 dev eth0",
		"192.168.1.0/24 dev eth0"}
	if got, want := halves(main), main[:1]; !reflect.DeepEqual(got, want) {
		t.Errorf("halves %q, want %q", got, want)
	}
	if got, want := defaults(main), main[1:2]; !reflect.DeepEqual(got, want) {
		t.Errorf("defaults %q, want %q", got, want)
	}
}

// A resolver is told of if clients can ask it, and their names would go elsewhere otherwise.
func TestOwnResolver(t *testing.T) {
	for socket, told := range map[string]bool{
		`udp UNCONN 0 0 0.0.0.0:53 0.0.0.0:* users:(("dnsmasq",pid=7,fd=4))`: true,
		`tcp LISTEN 0 32 [::]:53 [::]:* users:(("pihole-FTL",pid=7,fd=5))`:   true,
		`tcp LISTEN 0 10 *:53 *:*`:                true,
		`udp UNCONN 0 0 10.147.17.1:53 0.0.0.0:*`: true,
		// the box's, whoever asks
		`udp UNCONN 0 0 192.168.1.5:53 0.0.0.0:*`:                                          true,
		`udp UNCONN 0 0 10.147.17.1%ztabcdefgh:53 0.0.0.0:*`:                               true,
		`udp UNCONN 0 0 192.168.122.1%virbr0:53 0.0.0.0:*`:                                 false,
		`udp UNCONN 0 0 127.0.0.53%lo:53 0.0.0.0:* users:(("systemd-resolve",pid=1,fd=2))`: false,
		`tcp LISTEN 0 4096 [::1]:53 [::]:*`:                                                false,
		`udp UNCONN 0 0 [fe80::1]%eth0:53 [::]:*`:                                          false,
		`gibberish`: false,
	} {
		warned := func(f Facts) bool {
			return slices.ContainsFunc(Diagnose(f),
				func(r Result) bool { return r.Check == ownNames && r.Verdict == Warning })
		}
		f := healthy()
		f.Host.Resolvers = resolvers([]string{socket, socket})
		if got := warned(f); got != told {
			t.Errorf("%s: told %t, want %t (%+v)", socket, got, told, f.Host.Resolvers)
		}
		for i := range f.Daemon.Egresses {
			f.Daemon.Egresses[i].Kind = "wan"
		}
		if warned(f) {
			t.Errorf("%s: told of though all names leave by the WAN anyway", socket)
		}
	}
}

// A hundred names and more are asked for in time, and not all at once.
func TestManyLookups(t *testing.T) {
	var names []string
	for i := range 10 * lookupsAtOnce {
		names = append(names, fmt.Sprintf("vpn%d.example", i))
	}
	var asking, most atomic.Int32
	began := time.Now()
	got := lookups(t.Context(), names, func(ctx context.Context, name string) error {
		if n := asking.Add(1); n > most.Load() {
			most.Store(n)
		}
		defer asking.Add(-1)
		time.Sleep(50 * time.Millisecond)
		if name == names[7] {
			return errors.New("no such host")
		}
		return ctx.Err()
	})
	if took := time.Since(began); took > 3*time.Second || most.Load() > lookupsAtOnce {
		t.Errorf("it took %v, with %d at once", took, most.Load())
	}
	for i, l := range got {
		if l.Name != names[i] || (l.Err != "") != (i == 7) {
			t.Errorf("%d: %+v", i, l)
		}
	}
}

// Observe sees this machine, whatever it is, and says what it cannot see.
func TestObserve(t *testing.T) {
	h := Observe(t.Context(), []string{"doctor_test.go"}, []string{"nowhere.invalid"})
	if h.Latest.IsZero() {
		t.Error("the files have no time")
	}
	if len(h.Lookups) != 1 || h.Lookups[0].Err == "" {
		t.Errorf("a name that cannot exist was resolved: %+v", h.Lookups)
	}
	if _, looked := h.Programs[openvpn]; !looked {
		t.Error("openvpn was not looked for")
	}
}
