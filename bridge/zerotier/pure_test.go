package zerotier

import (
	"errors"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestParseIDs(t *testing.T) {
	for _, bad := range []string{"", "abcdef012300001", "abcdef01230000011", "abcdef012300000g",
		"+bcdef0123000001", "0xcdef0123000001", "abcd_f0123000001"} {
		if _, err := ParseNetworkID(bad); !errors.Is(err, ErrBadID) {
			t.Errorf("network id %q: %v", bad, err)
		}
	}
	for _, bad := range []string{"", "0000000000", "ff00000001", "12345678901", "123456789",
		"12345678g0"} {
		if _, err := ParseAddress(bad); !errors.Is(err, ErrBadID) {
			t.Errorf("address %q: %v", bad, err)
		}
	}
	n, err := ParseNetworkID("ABCDEF0123000001")
	if err != nil || n.String() != "abcdef0123000001" || n.Controller().String() != "abcdef0123" {
		t.Errorf("%v %v %v", n, n.Controller(), err)
	}
}

// Names that zerotier-one gave, as recorded.
func TestIfaceName(t *testing.T) {
	for id, want := range map[string]string{
		"fe5f2d532b02de82": "ztvv2c7dnj",
		"f084632630718cca": "zt222bfkx2",
		"0123456789abcdef": "ztm2vo5ktg",
	} {
		n, err := ParseNetworkID(id)
		if got := n.Iface(); got != want || err != nil {
			t.Errorf("the interface of %s is %s, %v; want %s", id, got, err, want)
		}
	}
	if _, err := ParseNetworkID("zt"); !errors.Is(err, ErrBadID) {
		t.Errorf("parsing nonsense: %v", err)
	}
}

func TestDeviceMap(t *testing.T) {
	home := t.TempDir()
	id := NetworkID(0xfe5f2d532b02de82)
	if got := IfaceIn(home, id); got != "ztvv2c7dnj" {
		t.Errorf("without a devicemap: %s", got)
	}
	for text, want := range map[string]string{
		"fe5f2d532b02de82=ztlab0\n":                            "ztlab0",
		"fe5f2d532b02de82=ztlab0=more\r\nfe5f2d532b02de82=zt1": "zt1",
		"FE5F2D532B02DE82=ztlab0\n":                            "ztvv2c7dnj",
		" fe5f2d532b02de82=ztlab0\n":                           "ztvv2c7dnj",
		"fe5f2d532b02de82\n=\n\n":                              "ztvv2c7dnj",
		"fe5f2d532b02de82=zt-much-too-long-for-linux\n":        "zt-much-too-lon",
	} {
		if err := os.WriteFile(filepath.Join(home, "devicemap"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := IfaceIn(home, id); got != want {
			t.Errorf("devicemap %q: %s, want %s", text, got, want)
		}
	}
}

// The first pair of each is from the vendor's documentation of the two schemes.
func TestDerivedAddresses(t *testing.T) {
	n, a := NetworkID(0x8056c2e21c000001), Address(0x89e92ceee5)
	if got := RFC4193(n, a); got != netip.MustParsePrefix(
		"fd80:56c2:e21c:0:199:9389:e92c:eee5/88") {
		t.Errorf("RFC4193: %s", got)
	}
	if got := SixPlane(n, a); got != netip.MustParsePrefix("fc9c:56c2:e389:e92c:eee5::1/40") {
		t.Errorf("6PLANE: %s", got)
	}
	if got := SixPlaneMember(n, a); got != netip.MustParsePrefix("fc9c:56c2:e389:e92c:eee5::/80") {
		t.Errorf("6PLANE of a member: %s", got)
	}
}

func TestMemberPrefixes(t *testing.T) {
	p := netip.MustParsePrefix
	via := netip.MustParseAddr("10.99.0.1")
	got := memberPrefixes(
		[]netip.Prefix{p("10.99.0.20/16"), p("fc9c:56c2:e389:e92c:eee5::1/40"), p("8.8.8.8/24"),
			p("169.254.1.1/16")},
		[]Route{
			{Target: p("10.99.0.0/16")},             // the same subnet again
			{Target: p("100.64.0.0/10")},            // on the link
			{Target: p("192.168.7.0/24"), Via: via}, // a LAN behind a member
			{Target: p("0.0.0.0/0"), Via: via},      // a default route
			{Target: p("::/0")},                     // one on the link, even
			{Target: p("1.1.1.0/24")},               // the Internet's
			{Target: p("2001:db8::/32")}, {Target: p("224.0.0.0/4")}, {Target: p("127.0.0.0/8")},
		}, false)
	want := []netip.Prefix{p("10.99.0.0/16"), p("100.64.0.0/10"), p("fc9c:5600::/40")}
	want[2] = p("fc9c:56c2:e300::/40")
	if !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	global := memberPrefixes([]netip.Prefix{p("10.99.0.20/16")},
		[]Route{{Target: p("2001:db8::/32")}, {Target: p("224.0.0.0/4")},
			{Target: p("127.0.0.0/8")}, {Target: p("::/0")}}, true)
	if want := []netip.Prefix{p("10.99.0.0/16"), p("2001:db8::/32")}; !slices.Equal(global, want) {
		t.Errorf("with allowGlobal: %v, want %v", global, want)
	}
}

func TestMergeBlacklist(t *testing.T) {
	cases := []struct{ name, in, want string }{
		{"no file", "", `{"settings":{"interfacePrefixBlacklist":["tunztb","tun"]}}`},
		{"null", "null", `{"settings":{"interfacePrefixBlacklist":["tunztb","tun"]}}`},
		{"null settings", `{"settings":null}`,
			`{"settings":{"interfacePrefixBlacklist":["tunztb","tun"]}}`},
		{"others kept",
			`{"physical":{"10.0.0.0/8":{"mtu":1400}},"settings":{"primaryPort":9993,"interfacePrefixBlacklist":["wg",7]},"virtual":{}}`,
			`{"physical":{"10.0.0.0/8":{"mtu":1400}},"settings":{"interfacePrefixBlacklist":["wg",7,"tunztb","tun"],"primaryPort":9993},"virtual":{}}`},
		{"half there", `{"settings":{"interfacePrefixBlacklist":["tun"]}}`,
			`{"settings":{"interfacePrefixBlacklist":["tun","tunztb"]}}`},
		{"large number untouched", `{"x":18446744073709551615}`,
			`{"settings":{"interfacePrefixBlacklist":["tunztb","tun"]},"x":18446744073709551615}`},
	}
	squeeze := strings.NewReplacer(" ", "", "\n", "")
	for _, c := range cases {
		got, changed, err := mergeBlacklist([]byte(c.in))
		if err != nil || !changed || squeeze.Replace(string(got)) != c.want {
			t.Errorf("%s: %s, %v, %v; want %s", c.name, got, changed, err, c.want)
			continue
		}
		again, changed, err := mergeBlacklist(got)
		if err != nil || changed || string(again) != string(got) {
			t.Errorf("%s: a second merge changed something: %s %v", c.name, again, err)
		}
	}
	for _, bad := range []string{"{", "[]", `"x"`, `{"settings":[]}`,
		`{"settings":{"interfacePrefixBlacklist":"tun"}}`, "{} {}"} {
		if _, _, err := mergeBlacklist([]byte(bad)); !errors.Is(err, errLocalConf) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

func TestLocalConfIsLeftAlone(t *testing.T) {
	home := t.TempDir()
	path := filepath.Join(home, "local.conf")
	if wrote, err := ensureLocalConf(home); !wrote || err != nil {
		t.Fatalf("first: %v %v", wrote, err)
	}
	if err := os.Chmod(path, 0o640); err != nil {
		t.Fatal(err)
	}
	before, _ := os.Stat(path)
	if wrote, err := ensureLocalConf(home); wrote || err != nil {
		t.Errorf("second: %v %v", wrote, err)
	}
	after, _ := os.Stat(path)
	if !os.SameFile(before, after) || !before.ModTime().Equal(after.ModTime()) {
		t.Error("an unchanged file was written")
	}
	if err := os.WriteFile(path, []byte("{broken"), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := ensureLocalConf(home); !errors.Is(err, errLocalConf) {
		t.Errorf("broken file: %v", err)
	}
	if raw, _ := os.ReadFile(path); string(raw) != "{broken" {
		t.Errorf("the user's file became %q", raw)
	}
	if err := os.WriteFile(path, []byte("{}"), 0o640); err != nil {
		t.Fatal(err)
	}
	if _, err := ensureLocalConf(home); err != nil {
		t.Fatal(err)
	}
	if st, _ := os.Stat(path); st.Mode().Perm() != 0o640 {
		t.Errorf("mode became %v", st.Mode())
	}
	if left, _ := filepath.Glob(filepath.Join(home, ".local.conf*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// Every recorded answer decodes into what the driver makes of it.
func TestRecordedAnswers(t *testing.T) {
	read := func(name string) []byte {
		t.Helper()
		raw, err := os.ReadFile(filepath.Join("testdata", "api", name))
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
	var node nodeAnswer
	var nets []networkAnswer
	var denied networkAnswer
	var peers []peerAnswer
	var moons []moonAnswer
	for name, into := range map[string]any{
		"gw-status.json": &node, "gw-network.json": &nets, "gw-network-access-denied.json": &denied,
		"dev-peer-moon.json": &peers, "gw-moon.json": &moons,
	} {
		if err := decode(read(name), into); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	if node.Address.String() != "375530c131" || node.Version != "1.14.1" || !node.Online {
		t.Errorf("node %+v", node)
	}
	if len(nets) != 1 || nets[0].Status != "OK" || len(nets[0].routes()) != 2 ||
		nets[0].routes()[0].Via.IsValid() || !nets[0].routes()[1].Via.IsValid() {
		t.Errorf("networks %+v", nets)
	}
	if denied.Status != "ACCESS_DENIED" || denied.PortDeviceName != denied.ID.Iface() {
		t.Errorf("denied %+v", denied)
	}
	if len(peers) != 2 || !peers[0].upstream() ||
		peers[1].heard() != time.UnixMilli(1795304481504) {
		t.Errorf("peers %+v", peers)
	}
	if len(moons) != 1 || moons[0].ID.String() != "0000009e8ee536be" || moons[0].Waiting {
		t.Errorf("moons %+v", moons)
	}
}

func TestReachable(t *testing.T) {
	clock := int64(1_795_304_490_000)
	peer := func(role string, age time.Duration) peerAnswer {
		return peerAnswer{Role: role, Paths: []pathAnswer{{LastReceive: clock - age.Milliseconds()},
			{LastReceive: 0}}}
	}
	cases := []struct {
		name      string
		online    bool
		peers     []peerAnswer
		reachable bool
	}{
		{"fresh root", true, []peerAnswer{peer("PLANET", 5*time.Second)}, true},
		{"silent root, online all the same", true, []peerAnswer{peer("PLANET", 150*time.Second)},
			false},
		{"members do not count", true,
			[]peerAnswer{peer("PLANET", time.Minute),
				peer("LEAF", time.Second)}, false},
		{"a moon counts", true, []peerAnswer{peer("PLANET", time.Minute),
			peer("MOON", time.Second)}, true},
		{"never heard", false, []peerAnswer{{Role: "PLANET"}}, false},
		{"a root itself", true, []peerAnswer{peer("LEAF", time.Second)}, true},
		{"clock stepped back", true, []peerAnswer{peer("PLANET", -time.Hour)}, true},
	}
	for _, c := range cases {
		if got := reachable(facts{node: nodeAnswer{Clock: clock, Online: c.online},
			peers: c.peers}); got != c.reachable {
			t.Errorf("%s: reachable %v", c.name, got)
		}
	}
}

func FuzzDecode(f *testing.F) {
	files, err := filepath.Glob("testdata/api/*.json")
	if err != nil || len(files) == 0 {
		f.Fatal("no recorded answers")
	}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add(
		[]byte(
			`[{"id":"0123456789abcdef","assignedAddresses":["::ffff:1.2.3.4/128","1.2.3.4/33"],"routes":[{"target":"::/0","via":"fe80::1%x"}]}]`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		look := facts{networks: map[NetworkID]networkAnswer{}}
		if decode(raw, &look.node) == nil {
			reachable(look)
		}
		var nets []networkAnswer
		if decode(raw, &nets) == nil {
			for _, n := range nets {
				look.networks[n.ID] = n
				st := networkStatus(n.ID, look, n.ID.Iface(), attempt{late: true})
				for _, p := range st.Prefixes {
					if p.Bits() == 0 || !p.IsValid() || p != p.Masked() {
						t.Errorf("prefix %v of members out of %q", p, raw)
					}
				}
			}
		}
		if decode(raw, &look.peers) == nil {
			reachable(look)
		}
		var moons []moonAnswer
		_ = decode(raw, &moons)
		var conf configAnswer
		if decode(raw, &conf) == nil {
			conf.effective()
		}
	})
}

func FuzzMergeBlacklist(f *testing.F) {
	for _, s := range []string{"", "null", `{"settings":{"interfacePrefixBlacklist":["wg"]}}`,
		`{"settings":1}`, "{\"\\u0000\":1}"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		merged, _, err := mergeBlacklist(raw)
		if err != nil {
			return
		}
		if _, changed, err := mergeBlacklist(merged); changed || err != nil {
			t.Errorf("merging %q is not final: %v", merged, err)
		}
	})
}

// A service that replaces another knows from the start what that one knew of the networks that
// stay, and the names of all interfaces.
func TestSucceed(t *testing.T) {
	home := t.TempDir()
	if err := os.WriteFile(filepath.Join(home, "devicemap"), []byte("abcdef0123000002=ztmapped\n"),
		0o600); err != nil {
		t.Fatal(err)
	}
	const stays, leaves, comes = NetworkID(0xabcdef0123000001), NetworkID(0xabcdef0123000003),
		NetworkID(0xabcdef0123000002)
	old := New(Config{Home: home, Networks: []NetworkID{leaves, stays}})
	was := old.Status()
	was.Service.State, was.Networks[1].State, was.Networks[1].MTU = ServiceOK, NetworkOK, 2800
	old.publish(was, time.Now())

	heir := New(Config{Home: home, Networks: []NetworkID{stays, comes}})
	heir.Succeed(old)
	got := heir.Status()
	if got.Service.State != ServiceOK || len(got.Networks) != 2 || got.Networks[0].ID != stays ||
		got.Networks[0].State != NetworkOK || got.Networks[0].MTU != 2800 {
		t.Errorf("it did not take over: %+v", got)
	}
	if n := got.Networks[1]; n.ID != comes || n.State != NetworkUnknown || n.Iface != "ztmapped" {
		t.Errorf("the new network: %+v", n)
	}
	stranger := New(Config{Home: t.TempDir(), Networks: []NetworkID{stays}})
	stranger.Succeed(old)
	if n := stranger.Status().Networks[0]; n.State != NetworkUnknown {
		t.Errorf("what another home's service said was taken over: %+v", n)
	}
}

// What was wrong with local.conf is over when its directory is.
func TestLocalConfOfARemovedHome(t *testing.T) {
	home, now := filepath.Join(t.TempDir(), "home"), time.Now()
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "local.conf"), []byte("none"), 0o600); err != nil {
		t.Fatal(err)
	}
	k := &confSync{home: home, log: slog.New(slog.DiscardHandler)}
	if got := k.sync(t.Context(), false, now); len(got) != 1 {
		t.Errorf("a bad file: %v", got)
	}
	if err := os.RemoveAll(home); err != nil {
		t.Fatal(err)
	}
	for _, later := range []time.Duration{syncEvery, syncEvery + time.Second} {
		if got := k.sync(t.Context(), false, now.Add(later)); len(got) != 0 {
			t.Errorf("after %v: %v", later, got)
		}
	}
}
