package client

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/openvpn/ovpntest"
	"ztbridge/bridge/openvpn/profile"
)

// TestDeadAddresses: a name whose first addresses are dead, over UDP and TCP, with each kind of
// control channel key, and servers of which the first ones are dead, cost moments. One after the
// other they take 11 s.
func TestDeadAddresses(t *testing.T) {
	const most = 6 * time.Second // 0.9 s, and 1.6 s for remotes, on an idle machine
	auth := ovpntest.Inline("tls-auth", ovpntest.StaticKey(1))
	crypt := ovpntest.Inline("tls-crypt", ovpntest.StaticKey(1))
	const named = "remote many.example.net 1194"
	var dead []string
	for i := range 7 {
		dead = append(dead, fmt.Sprintf("remote 192.0.2.%d 1194", 101+i))
	}
	for _, tc := range []struct {
		name            string
		server, profile []string
		v2, v6          bool
	}{
		{name: "udp", profile: []string{named}},
		{name: "tcp", profile: []string{"proto tcp", named}},
		{name: "tls-auth", server: []string{auth, "key-direction 0", "auth SHA512"},
			profile: []string{auth, "key-direction 1", "auth SHA512", named}},
		{name: "tls-auth without direction", server: []string{auth},
			profile: []string{auth, named}},
		{name: "tls-crypt", server: []string{crypt}, profile: []string{crypt, named}},
		{name: "tls-crypt-v2", v2: true, profile: []string{named}},
		{name: "tls-crypt in a connection", server: []string{crypt}, profile: []string{
			"<connection>\n" + named + "\n" + crypt + "\n</connection>"}},
		{name: "only IPv6 alive", v6: true, profile: []string{named}},
		{name: "remotes", profile: append(dead, "remote "+serverAddr+" 1194")},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if !inNamespace(t) {
				return
			}
			l := newLab(t)
			if tc.v2 {
				server, client := l.cryptV2()
				tc.server = []string{"tls-crypt-v2 " + server}
				tc.profile = append(tc.profile, ovpntest.Inline("tls-crypt-v2", client))
			}
			alive := netip.MustParseAddr(serverAddr)
			if tc.v6 {
				alive = netip.MustParseAddr("2001:db8:2::2")
				l.sh("ip addr add 2001:db8:2::1/64 dev wan0 nodad")
				l.provider("ip addr add 2001:db8:2::2/64 dev prov0 nodad")
			}
			proto := "udp6" // on both families
			if strings.HasPrefix(tc.profile[0], "proto tcp") {
				proto = "tcp-server"
			}
			l.serve(proto, tc.server...)
			var addrs []netip.Addr
			for i := range 7 {
				a := fmt.Sprintf("192.0.2.%d", 101+i)
				l.provider("ip addr add " + a + "/24 dev prov0")
				addrs = append(addrs, netip.MustParseAddr(a))
			}
			// They take what they are sent, and are silent.
			l.provider("iptables -A INPUT -d 192.0.2.96/27 -j DROP")
			r := &testResolver{answers: map[string][]netip.Addr{
				"many.example.net": append(addrs, alive)}}
			began := time.Now()
			c := l.dial(l.profile(tc.profile...), func(cfg *Config) { cfg.Resolver = r })
			s := c.awaitGeneration(1)
			took := time.Since(began)
			t.Logf("up after %v", took.Round(10*time.Millisecond))
			if s.Server.Addr() != alive {
				t.Errorf("connected to %v", s.Server)
			}
			if took > most {
				t.Errorf("up after %v, want %v at most; openvpn said:\n%s", took, most,
					c.logText())
			}
		})
	}
}

// TestSlowServerKeepsItsPlace: a server that is first in somebody's list and answers late is not
// left for another that answers at once, before it has had its time. Another address of its own
// name is as good.
func TestSlowServerKeepsItsPlace(t *testing.T) {
	begin := func() *run {
		r := &run{t: newIdleTunnel(t), phase: trying}
		if _, _, err := r.t.servers.target(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.race.due = make(chan time.Time)
		return r
	}
	second := candidate{remote: profile.Remote{Host: "192.0.2.2"}}
	r := begin()
	if v := r.heard(second); v != nil {
		t.Errorf("left at once for another remote: %+v", v)
	}
	if v := r.raceDue(); v == nil || !v.asked || !r.t.servers.jumped {
		t.Errorf("not left after its time: %+v", v)
	}
	r = begin()
	if v := r.raceDue(); v != nil {
		t.Errorf("left although no other answers: %+v", v)
	}
	if v := r.heard(second); v == nil || !v.asked {
		t.Errorf("not left for what answers after its time: %+v", v)
	}
	r = begin()
	r.t.servers.addrs = append(r.t.servers.addrs, netip.MustParseAddr("192.0.2.9"))
	if v := r.heard(r.t.servers.candidates()[0]); v == nil ||
		r.t.servers.addrs[0].String() != "192.0.2.9" {
		t.Errorf("not left for another address of its name: %+v", v)
	}
}

// TestJump: a server that answers is next, the rest of the list keeps its order, and none is jumped
// from before it was tried.
func TestJump(t *testing.T) {
	addr := netip.MustParseAddr
	r := &testResolver{answers: map[string][]netip.Addr{"a.example.net": {addr("198.51.100.1"),
		addr("198.51.100.2"), addr("198.51.100.3")}}}
	p := &profile.Profile{Remotes: []profile.Remote{{Host: "a.example.net"}, {Host: "192.0.2.1"},
		{Host: "192.0.2.2", Proxy: profile.Proxy{Host: "192.0.2.9"}}, {Host: "192.0.2.3"}}}
	c := newServerList(p, openNames(filepath.Join(t.TempDir(), "n"), r, plainName), Written)
	aim := func() string {
		t.Helper()
		target, _, err := c.target(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return target.addr.String()
	}
	candidates := func() string {
		var out []string
		for _, a := range c.candidates() {
			if a.addr.IsValid() {
				out = append(out, a.addr.String())
			} else {
				out = append(out, a.remote.Host)
			}
		}
		return strings.Join(out, " ")
	}
	c.beginFastRound()
	aim()
	want := "198.51.100.2 198.51.100.3 192.0.2.1 192.0.2.3"
	if got := candidates(); got != want {
		t.Errorf("behind the first address: %s, want %s", got, want)
	}
	c.jump(c.candidates()[1])
	if got := aim(); got != "198.51.100.3" || !c.jumped || !c.inFastRound() {
		t.Errorf("after the jump to its third address: %s, %v", got, c.jumped)
	}
	c.fail()
	if c.jumped {
		t.Error("a failure does not allow another jump")
	}
	aim()
	c.jump(candidate{remote: p.Remotes[3]}) // from the second remote to the fourth
	if got := aim(); got != "192.0.2.3" || c.fastRounds != 1 {
		t.Errorf("after the jump over a remote: %s, %d fast rounds left", got, c.fastRounds)
	}
	if got, want := candidates(), "a.example.net 192.0.2.1"; got != want {
		t.Errorf("behind the last remote: %s, want %s", got, want)
	}
	c.fail()
	c.jump(candidate{remote: p.Remotes[1]}) // after the failure of the last: past the first
	if got := aim(); got != "192.0.2.1" || c.fastRounds != 0 {
		t.Errorf("after the jump over the end: %s, %d fast rounds left", got, c.fastRounds)
	}
	if got := c.size(); got != 6 {
		t.Errorf("a round has %d attempts, want 6", got)
	}
}

func FuzzAnswersHardReset(f *testing.F) {
	f.Add([]byte{})
	f.Add(append([]byte{opHardResetServer << 3}, make([]byte, 13)...))
	f.Fuzz(func(t *testing.T, packet []byte) {
		if answersHardReset(packet) && len(packet) <= sessionIDBytes {
			t.Error("too short for an answer")
		}
	})
}

// TestHardResetOfDamagedKeys: a key that cannot serve is an error, and is not in its text.
func TestHardResetOfDamagedKeys(t *testing.T) {
	for _, key := range []profile.ControlKey{
		{Kind: "tls-auth", Text: "zz", Digest: "SHA1"},
		{Kind: "tls-auth", Text: ovpntest.StaticKey(1), Digest: "RIPEMD160"},
		{Kind: "tls-crypt", Text: "00112233"},
		{Kind: "tls-crypt-v2", Text: "AAAA"},
	} {
		packet, err := hardReset(key, time.Now())
		if err == nil || packet != nil || len(key.Text) < 9 &&
			strings.Contains(err.Error(), key.Text) {
			t.Errorf("%s: %x, %v", key.Kind, packet, err)
		}
	}
}
