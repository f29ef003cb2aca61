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

// badProfiles are profiles that must let nobody in, by what is wrong with them.
func (l *lab) badProfiles(good string) map[string]string {
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
	return map[string]string{
		"no certificate":                     bare + "auth-user-pass " + password + "\n",
		"the certificate of a foreign CA":    swap(t, good, other, "cert", "key"),
		"an expired certificate":             expired,
		"a revoked certificate":              revoked,
		"the old one of a reissued name":     old,
		"a foreign tls-crypt-v2 key":         swap(t, good, other, "tls-crypt-v2"),
		"the server's certificate, stolen":   asServer,
		"a good one, but a foreign server's": swap(t, good, other, "ca"),
	}
}

// TestRefusals connects with everything that must not let anybody in, by UDP and TCP, all at once, beside
// a good client that shows that the endpoint works.
func TestRefusals(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	_, good := l.add(pki.Request{Name: "good"})
	type attempt struct {
		what string
		done func() bool
		log  func() string
	}
	var attempts []attempt
	bad := l.badProfiles(good)
	l.awaitExpiry("expired")
	ns := l.host()
	for what, profile := range bad {
		for _, remote := range []string{"remote 203.0.113.1 1194 udp\n", "remote 203.0.113.1 443 tcp\n"} {
			only := strings.Replace(profile, remote, "", 1)
			path := filepath.Join(l.lab.Dir, fmt.Sprintf("bad%d.ovpn", len(attempts)))
			must(t, os.WriteFile(path, []byte(only), 0o600))
			p := l.run(ns, path, "--dev", "null", "--ifconfig-noexec", "--route-noexec",
				"--hand-window", "8", "--connect-retry-max", "1")
			attempts = append(attempts, attempt{
				what: what, log: p.Log,
				done: func() bool {
					return !p.Running() || strings.Contains(p.Log(), "SIGUSR1[") || strings.Contains(p.Log(), "Initialization Sequence Completed")
				},
			})
		}
	}
	friend := l.host()
	p := l.connect(friend, good)
	defer p.Stop()
	awaitEcho(t, friend, innerAddr)
	for _, a := range attempts {
		await(t, "the attempt has ended: "+a.what, a.done)
		if log := a.log(); strings.Contains(log, "Initialization Sequence Completed") {
			t.Errorf("%s let the client in:\n%s", a.what, log)
		}
	}
	clients := l.status().Clients
	if len(clients) != 1 || clients[0].Name != "good" {
		t.Errorf("connected: %+v, want the good client alone", clients)
	}
	if !echoes(friend, innerAddr, patience) {
		t.Error("the good client was disturbed")
	}
}

// awaitExpiry waits until the certificate of a client that lives for a moment has expired.
func (l *lab) awaitExpiry(name string) {
	l.t.Helper()
	c, err := l.store.Client(name)
	must(l.t, err)
	await(l.t, name+" has expired", func() bool { return !c.Valid(time.Now()) })
}
