package endpoint_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/pki"
)

func readProcStatus(t testing.TB, pid int) map[string]string {
	t.Helper()
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	must(t, err)
	fields := map[string]string{}
	for line := range strings.Lines(string(data)) {
		key, value, _ := strings.Cut(line, ":")
		fields[key] = strings.TrimSpace(value)
	}
	return fields
}

// block returns an inline block of a profile.
func block(t testing.TB, profile, tag string) string {
	t.Helper()
	_, rest, ok := strings.Cut(profile, "<"+tag+">\n")
	text, _, ok2 := strings.Cut(rest, "</"+tag+">\n")
	if !ok || !ok2 {
		t.Fatalf("no <%s> in the profile", tag)
	}
	return text
}

// swap replaces inline blocks of a profile by those of another.
func swap(t testing.TB, profile, other string, tags ...string) string {
	t.Helper()
	for _, tag := range tags {
		profile = strings.Replace(profile, block(t, profile, tag), block(t, other, tag), 1)
	}
	return profile
}

// badProfile is a profile that must let nobody in.
type badProfile struct {
	text string
	// server is what the server's log says of it, client what the client's does, where the server
	// never hears of it.
	server, client string
}

// badProfiles are profiles that must let nobody in, by what is wrong with them.
func (l *testbed) badProfiles(good string) map[string]badProfile {
	t := l.t
	t.Helper()
	foreign := pki.New(filepath.Join(l.dir, "foreign", "pki"))
	_, err := foreign.Ensure()
	must(t, err)
	_, err = foreign.Add(pki.Request{Name: "good", LastHost: 100})
	must(t, err)
	other := l.profile(foreign, "good")

	_, expired := l.add(pki.Request{Name: "expired", Life: time.Second})
	_, revoked := l.add(pki.Request{Name: "revoked"})
	_, err = l.store.Revoke("revoked")
	must(t, err)
	_, old := l.add(pki.Request{Name: "reissued"})
	_, err = l.store.Revoke("reissued")
	must(t, err)
	l.add(pki.Request{Name: "reissued"})

	password := filepath.Join(l.lab.Dir, "password")
	must(t, os.WriteFile(password, []byte("good\nsecret\n"), 0o600))
	bare := good
	for _, tag := range []string{"cert", "key"} {
		bare = strings.Replace(bare, "<"+tag+">\n"+block(t, bare, tag)+"</"+tag+">\n", "", 1)
	}
	server, err := l.store.Server()
	must(t, err)
	asServer := strings.Replace(good, block(t, good, "cert"), string(server.Cert), 1)
	asServer = strings.Replace(asServer, block(t, good, "key"), string(server.Key), 1)
	return map[string]badProfile{
		"no certificate": {bare + "auth-user-pass " + password + "\n",
			"peer did not return a certificate", ""},
		"the certificate of a foreign CA": {swap(t, good, other, "cert", "key"),
			"VERIFY ERROR: depth=0, error=unable to get", ""},
		"an expired certificate":         {expired, "error=certificate has expired", ""},
		"a revoked certificate":          {revoked, "error=certificate revoked", ""},
		"the old one of a reissued name": {old, "error=certificate revoked", ""},
		"a foreign tls-crypt-v2 key": {swap(t, good, other, "tls-crypt-v2"),
			"can not extract tls-crypt-v2 client key", ""},
		"the server's certificate, stolen": {asServer, "error=unsuitable certificate purpose",
			""},
		"a good one, but a foreign server's": {swap(t, good, other, "ca"), "", "VERIFY ERROR"},
		"a cipher without authentication": {good + "data-ciphers AES-256-CBC\n", "",
			"Data channel cipher negotiation failed"},
		"an old TLS": {
			strings.Replace(good, "tls-version-min 1.2\n", "", 1) +
				"tls-version-max 1.1\ntls-cipher DEFAULT:@SECLEVEL=0\n",
			"unsupported protocol", "",
		},
	}
}

// TestRefusals connects with everything that must not let anybody in, by UDP and TCP, beside a good
// client that shows that the endpoint works. Each is refused for its own reason, and not because
// its profile is no good anyway.
func TestRefusals(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	_, good := l.add(pki.Request{Name: "good"})
	type attempt struct {
		what    string
		addr    string // where it comes from
		profile badProfile
		done    func() bool
		log     func() string
	}
	var attempts []attempt
	bad := l.badProfiles(good)
	l.awaitExpiry("expired")
	for what, profile := range bad {
		for _, remote := range []string{"remote 203.0.113.1 1194 udp\n",
			"remote 203.0.113.1 443 tcp\n"} {
			ns := l.host() // one for each: by its address the server's word about it is known
			addr, err := ns.Run(t.Context(), "sh", "-c",
				"ip -4 -o addr show dev eth0 | sed 's,.*inet ,,; s,/.*,,'")
			must(t, err)
			only := strings.Replace(profile.text, remote, "", 1)
			path := filepath.Join(l.lab.Dir, fmt.Sprintf("bad%d.ovpn", len(attempts)))
			must(t, os.WriteFile(path, []byte(only), 0o600))
			p := l.run(ns, path, "--dev", "null", "--ifconfig-noexec", "--route-noexec",
				"--hand-window", "8", "--connect-retry-max", "1")
			attempts = append(attempts, attempt{
				what: what, addr: strings.TrimSpace(addr), profile: profile, log: p.Log,
				done: func() bool {
					return !p.Running() || strings.Contains(p.Log(), "SIGUSR1[") ||
						strings.Contains(p.Log(), "Initialization Sequence Completed")
				},
			})
		}
		// the server logs some lines a second of what openvpn says, no more
		time.Sleep(2 * time.Second)
	}
	friend := l.host()
	p := l.connect(friend, good)
	defer p.Stop()
	awaitEcho(t, friend, innerAddr)
	for _, a := range attempts {
		await(t, "the attempt has ended: "+a.what, a.done)
		if log := a.log(); strings.Contains(log, "Initialization Sequence Completed") {
			t.Errorf("%s let the client in:\n%s", a.what, log)
		} else if !strings.Contains(log, a.profile.client) {
			t.Errorf("%s: the client does not say %q:\n%s", a.what, a.profile.client, log)
		}
		if !saysOf(l.process.Log(), a.addr, a.profile.server) {
			t.Errorf("%s: the server does not say %q of %s", a.what, a.profile.server, a.addr)
		}
	}
	clients := l.status().Clients
	if len(clients) != 1 || clients[0].Name != "good" {
		t.Errorf("connected: %+v, want the good client alone", clients)
	}
	if !echoes(friend, innerAddr, waitTimeout) {
		t.Error("the good client was disturbed")
	}
}

// saysOf says whether a line of a log is about an address and contains a text.
func saysOf(log, addr, text string) bool {
	for line := range strings.Lines(log) {
		if strings.Contains(line, addr+":") && strings.Contains(line, text) {
			return true
		}
	}
	return text == ""
}

// awaitExpiry waits until the certificate of a client that lives for a moment has expired.
func (l *testbed) awaitExpiry(name string) {
	l.t.Helper()
	c, err := l.store.Client(name)
	must(l.t, err)
	await(l.t, name+" has expired", func() bool { return !c.Valid(time.Now()) })
}
