package client

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"ztbridge/bridge/openvpn/ovpntest"
	"ztbridge/bridge/openvpn/profile"
)

// TestFailures shows each way in which a provider fails us to the whole stack, from its real server
// to the words for the user.
func TestFailures(t *testing.T) {
	deny := filepath.Join(os.TempDir(), fmt.Sprintf("deny-%d", os.Getpid()))
	if err := os.WriteFile(deny, []byte("#!/bin/sh\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(deny)
	challenge := deny + "-challenge"
	if err := os.WriteFile(challenge,
		[]byte(
			"#!/bin/sh\nprintf %s 'CRV1:R,E:state:YWxpY2U=:Enter code' >\"$auth_failed_reason_file\"\nexit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	defer os.Remove(challenge)
	credentials := func(c *Config) {
		c.Credentials = &profile.Credentials{Username: "alice",
			Password: `pa"ss\ w'ord`}
	}

	for _, tc := range []struct {
		name    string
		proto   string                // udp when empty
		slow    bool                  // it takes until our waitRange with a silent server ends
		server  func(l *lab) []string // further lines of the server
		profile func(l *lab) string
		adjust  func(*Config)
		state   State
		cause   string        // part of it
		wait    time.Duration // the least that the next try may be away
	}{
		{
			name: "credentials refused", state: StateAuthFailed,
			cause: "rejected the user name or password",
			wait:  20 * time.Second,
			server: func(*lab) []string {
				return []string{"script-security 2", "auth-user-pass-verify " + deny + " via-env"}
			},
			profile: func(l *lab) string { return l.profile("auth-user-pass") },
			adjust:  credentials,
		},
		{
			name: "second factor", state: StateAuthFailed,
			cause: "the server wants a second factor: Enter code", wait: 20 * time.Second,
			server: func(*lab) []string {
				return []string{"script-security 2",
					"auth-user-pass-verify " + challenge + " via-env"}
			},
			profile: func(l *lab) string { return l.profile("auth-user-pass") },
			adjust:  credentials,
		},
		{
			name: "another CA", state: StateTLSFailed, cause: "not issued by the profile's CA",
			wait: time.Second,
			profile: func(l *lab) string {
				return strings.Replace(l.profile(), l.pki.CA.PEM, l.pki.Authority("Another CA").PEM,
					1)
			},
		},
		{
			name: "server expired", state: StateCertExpired,
			cause: "the server's certificate (CN=old.example.net) has expired",
			wait:  10 * time.Second,
			server: func(l *lab) []string {
				old := l.pki.Issue("old.example.net", x509.ExtKeyUsageServerAuth,
					time.Now().Add(-time.Hour))
				return []string{ovpntest.Inline("cert", old.PEM), ovpntest.Inline("key", old.Key)}
			},
		},
		{
			name: "another name", state: StateTLSFailed, cause: "bears another name",
			wait: time.Second,
			profile: func(l *lab) string {
				return l.profile("verify-x509-name other.example.net name")
			},
		},
		{
			name: "a client poses as the server", state: StateTLSFailed,
			cause: "not one of a server", wait: time.Second,
			server: func(l *lab) []string {
				return []string{ovpntest.Inline("cert", l.pki.Client.PEM),
					ovpntest.Inline("key", l.pki.Client.Key)}
			},
		},
		{
			name: "another tls-crypt key", state: StateBackoff, cause: "does not answer",
			server: func(*lab) []string {
				return []string{ovpntest.Inline("tls-crypt", ovpntest.StaticKey(1))}
			},
			profile: func(l *lab) string {
				return l.profile(ovpntest.Inline("tls-crypt", ovpntest.StaticKey(2)))
			},
		},
		{
			name: "another tls-auth key", state: StateBackoff, cause: "does not answer",
			server: func(*lab) []string {
				return []string{ovpntest.Inline("tls-auth", ovpntest.StaticKey(1)),
					"key-direction 0"}
			},
			profile: func(l *lab) string {
				return l.profile(ovpntest.Inline("tls-auth", ovpntest.StaticKey(2)),
					"key-direction 1")
			},
		},
		{
			name: "our certificate is another CA's", slow: true, state: StateTLSFailed,
			cause: "fell silent during the TLS handshake", wait: time.Second,
			profile: func(l *lab) string {
				stranger := ovpntest.NewPKI(l.t)
				c := stranger.Issue("stranger", x509.ExtKeyUsageClientAuth,
					time.Now().Add(time.Hour))
				p := strings.Replace(l.profile(), l.pki.Client.PEM, c.PEM, 1)
				return strings.Replace(p, l.pki.Client.Key, c.Key, 1)
			},
		},
		{
			name: "our certificate is another CA's, over TCP", state: StateTLSFailed,
			cause: "broke off the TLS handshake", wait: time.Second,
			proto: "tcp",
			profile: func(l *lab) string {
				stranger := ovpntest.NewPKI(l.t)
				c := stranger.Issue("stranger", x509.ExtKeyUsageClientAuth,
					time.Now().Add(time.Hour))
				p := strings.Replace(l.profile("proto tcp"), l.pki.Client.PEM, c.PEM, 1)
				return strings.Replace(p, l.pki.Client.Key, c.Key, 1)
			},
		},
		{
			name: "our certificate expired", state: StateCertExpired,
			cause: "our certificate (CN=late) expired on", wait: 10 * time.Second,
			profile: func(l *lab) string {
				c := l.pki.Issue("late", x509.ExtKeyUsageClientAuth, time.Now().Add(-time.Hour))
				p := strings.Replace(l.profile(), l.pki.Client.PEM, c.PEM, 1)
				return strings.Replace(p, l.pki.Client.Key, c.Key, 1)
			},
		},
		{
			name: "no TLS version in common", slow: true, state: StateTLSFailed,
			cause: "fell silent during the TLS handshake", wait: time.Second,
			server: func(*lab) []string {
				return []string{"tls-version-max 1.2", "tls-version-min 1.2"}
			},
			profile: func(l *lab) string { return l.profile("tls-version-min 1.3") },
		},
		{
			name: "no data cipher in common", state: StateTLSFailed,
			cause: "no data cipher in common", wait: time.Second,
			server: func(*lab) []string {
				return []string{"data-ciphers CAMELLIA-256-CBC",
					"data-ciphers-fallback CAMELLIA-256-CBC"}
			},
		},
		{
			name: "address in the LAN", state: StatePushRefused,
			cause:  "10.77.0.2, which lies in this host's own network 10.77.0.0/16",
			adjust: func(c *Config) { c.Forbidden = prefixes("10.77.0.0/16") },
			wait:   2 * time.Second,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if tc.slow && testing.Short() {
				t.Skip("takes 15 s")
			}
			if !inNamespace(t) {
				return
			}
			l := newLab(t)
			var lines []string
			if tc.server != nil {
				lines = tc.server(l)
			}
			proto := "udp"
			if tc.proto == "tcp" {
				proto = "tcp-server"
			}
			s := l.serve(proto, lines...)
			text := l.profile()
			if tc.profile != nil {
				text = tc.profile(l)
			}
			c := l.dial(text+"remote "+serverAddr+" 1194\n", tc.adjust)
			got := c.awaitState(tc.state)
			if !strings.Contains(got.Cause, tc.cause) {
				t.Errorf("cause %q, want %q in it; openvpn said:\n%s\nthe server:\n%s", got.Cause,
					tc.cause, c.logText(), s.tail())
			}
			if wait := time.Until(got.NextRetry); wait < tc.wait/2 {
				t.Errorf("tries again in %v, want at least about %v", wait, tc.wait)
			}
			if got.Generation != 0 || got.State != StateStopped && got.Remedy == "" {
				t.Errorf("generation %d, remedy %q", got.Generation, got.Remedy)
			}
			c.stop()
		})
	}
}

// TestCredentialsWithSpecialCharacters shows that what a user chose reaches the server as it is.
func TestCredentialsWithSpecialCharacters(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	l := newLab(t)
	const username, password = `o'neil "x" \`, `p a\"s's "w" \\ é #;`
	want := filepath.Join(l.dir, "want")
	if err := os.WriteFile(want, []byte(username+"\n"+password+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	check := filepath.Join(l.dir, "check")
	if err := os.WriteFile(check, []byte("#!/bin/sh\nexec cmp -s \"$1\" "+want+"\n"),
		0o755); err != nil {
		t.Fatal(err)
	}
	// OpenVPN replaces white space and some characters in the user's name by '_', unless told not
	// to.
	s := l.serve("udp", "script-security 2", "auth-user-pass-verify "+check+" via-file",
		"username-as-common-name")
	c := l.dial(l.profile("auth-user-pass", "remote "+serverAddr+" 1194"), func(cfg *Config) {
		cfg.Credentials = &profile.Credentials{Username: username, Password: password}
	})
	got := c.await("an end", func(s Status) bool {
		return s.State == StateUp ||
			s.State == StateAuthFailed
	})
	if got.State != StateUp {
		t.Errorf("state %s (%s); the server:\n%s", got.State, got.Cause, s.tail())
	}
	for _, line := range c.Log() {
		if strings.Contains(line.Text, `w'`) || strings.Contains(line.Text, "s's") {
			t.Errorf("the log holds the password: %s", line.Text)
		}
	}
}

// testResolver answers from a map; what is not there does not resolve.
type testResolver struct {
	answers map[string][]netip.Addr
	down    atomic.Bool
	asked   atomic.Int32
}

func (r *testResolver) LookupNetIP(_ context.Context, _, host string) ([]netip.Addr, error) {
	r.asked.Add(1)
	if a := r.answers[host]; a != nil && !r.down.Load() {
		return a, nil
	}
	return nil, &net.DNSError{Err: "server misbehaving", Name: host, IsTemporary: true}
}

func TestNamesAreResolvedByUs(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	l := newLab(t)
	l.serve("udp")
	r := &testResolver{answers: map[string][]netip.Addr{
		"vpn.example.net": {netip.MustParseAddr(serverAddr)}}}
	text := l.profile("remote gone.example.net 1194", "remote vpn.example.net 1194",
		"remote vpn.example.net 443 tcp")
	resolve := func(cfg *Config) { cfg.Resolver = r }
	c := l.dial(text, resolve)
	if s := c.awaitGeneration(1); s.Remote.Host != "vpn.example.net" ||
		s.Remote.Proto != profile.UDP {
		t.Errorf("connected to %v", s.Remote)
	}
	c.stop()

	// DNS is gone at the next start: the last answer serves.
	r.down.Store(true)
	c = l.dial(text, resolve)
	c.awaitGeneration(1)
	c.stop()

	// Without an earlier answer, that is what is said.
	if err := os.RemoveAll(filepath.Join(l.dir, "state")); err != nil {
		t.Fatal(err)
	}
	c = l.dial(text, resolve)
	s := c.awaitState(StateDNSFailed)
	if !strings.Contains(s.Cause, "vpn.example.net") ||
		!strings.Contains(s.Cause, "cannot be looked up") {
		t.Errorf("cause %q", s.Cause)
	}
	r.down.Store(false)
	c.awaitGeneration(1)
}

// TestHostilePushes lets a provider push all that would harm the box. The tunnel comes up, and
// nothing of the box changes.
func TestHostilePushes(t *testing.T) {
	if !inNamespace(t) {
		return
	}
	l := newLab(t)
	// ip(8) also looks at the namespaces of tests beside this one, and complains of one that is
	// gone.
	const state = "{ ip route show table all; ip -6 route show table all; ip rule; " +
		"ip addr show dev wan0; } 2>/dev/null; cat /etc/resolv.conf"
	before := l.sh(state)
	l.serve("udp",
		`push "redirect-gateway def1 ipv6 block-local"`, `push "route 192.0.2.0 255.255.255.0"`,
		`push "route-ipv6 ::/0"`,
		`push "dhcp-option DNS 127.0.0.1"`, `push "dhcp-option DNS 224.0.0.1"`,
		`push "dhcp-option DNS 198.51.100.7"`,
		`push "dhcp-option DOMAIN evil.example"`, `push "block-outside-dns"`, `push "persist-key"`,
		`push "inactive 2"`,
		`push "ping-exit 2"`, `push "ping 1"`, `push "ping-restart 1"`,
		`push "explicit-exit-notify 3"`,
		`push "setenv PATH /tmp"`, `push "setenv-safe x y"`, `push "echo hello"`,
		`push "sndbuf 100"`, `push "rcvbuf 100"`,
		`push "comp-lzo yes"`, `push "reneg-sec 5"`, `push "auth-retry none"`,
		`push "socket-flags TCP_NODELAY"`,
		`push "txqueuelen 1"`, `push "ip-win32 dynamic"`, `push "register-dns"`,
		`push "session-timeout 3"`,
	)
	c := l.dial(l.profile("remote "+serverAddr+" 1194"), nil)
	s := c.awaitGeneration(1)
	if len(s.Session.DNS) != 1 || s.Session.DNS[0] != netip.MustParseAddr("198.51.100.7") {
		t.Errorf("resolvers %v", s.Session.DNS)
	}
	if len(s.Warnings) != 2 {
		t.Errorf("warnings %q, want one for each impossible resolver", s.Warnings)
	}
	// inactive, ping-exit, ping-restart and session-timeout would have struck
	time.Sleep(4 * time.Second)
	if now := c.Status(); now.Generation != 1 || now.State != StateUp {
		t.Errorf("the tunnel did not stay up: %+v", now)
	}
	l.sh("ip link del " + labDevice + "; true")
	after := l.sh(state)
	if strip(before) != strip(after) {
		t.Errorf("the box was changed:\nbefore:\n%s\nafter:\n%s", before, after)
	}
}

// strip drops the lines that IPv6 autoconfiguration adds by itself in the first seconds of a link.
func strip(s string) string {
	var out []string
	for line := range strings.SplitSeq(s, "\n") {
		if !strings.Contains(line, "fe80") && !strings.Contains(line, "inet6") &&
			!strings.Contains(line, "ff00::") &&
			!strings.Contains(line, "valid_lft") && !strings.Contains(line, "anycast") &&
			!strings.Contains(line, labDevice) {
			out = append(out, strings.TrimSpace(strings.TrimSuffix(strings.TrimSpace(line),
				"linkdown")))
		}
	}
	return strings.Join(out, "\n")
}
