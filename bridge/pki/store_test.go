package pki

import (
	"bytes"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

const lastHost = 100

// clock is a clock that a test sets.
type clock struct{ t time.Time }

func (c *clock) now() time.Time { return c.t }

func newStore(t *testing.T) (*Store, *clock) {
	t.Helper()
	c := &clock{time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	s := New(filepath.Join(t.TempDir(), "state", "pki"))
	s.now = c.now
	s.work = 8 // scrypt at its real cost takes a second
	return s, c
}

func ensure(t *testing.T, s *Store) Renewal {
	t.Helper()
	r, err := s.Ensure()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func add(t *testing.T, s *Store, name string) Client {
	t.Helper()
	c, err := s.Add(Request{Name: name, LastHost: lastHost})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func parseCert(t *testing.T, data []byte) *x509.Certificate {
	t.Helper()
	cert, err := x509.ParseCertificate(pemBytes(t, data))
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

func pemBytes(t *testing.T, data []byte) []byte {
	t.Helper()
	block, rest := decodePEM(data)
	if block == nil || len(bytes.TrimSpace(rest)) != 0 {
		t.Fatalf("not exactly one PEM block:\n%s", data)
	}
	return block
}

// issued returns the endpoint's keys, those of the client phone, and who has signed both.
func issued(t *testing.T, s *Store) (Server, Credentials, *x509.CertPool) {
	t.Helper()
	server, err := s.Server()
	if err != nil {
		t.Fatal(err)
	}
	creds, err := s.Credentials("phone")
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(parseCert(t, server.CA))
	return server, creds, roots
}

func TestCertificatesVerify(t *testing.T) {
	s, c := newStore(t)
	ensure(t, s)
	add(t, s, "phone")
	server, creds, roots := issued(t, s)
	for _, tc := range []struct {
		cert []byte
		use  x509.ExtKeyUsage
		name string
	}{
		{server.Cert, x509.ExtKeyUsageServerAuth, ServerName},
		{creds.Cert, x509.ExtKeyUsageClientAuth, "phone"},
	} {
		cert := parseCert(t, tc.cert)
		if _, err := cert.Verify(x509.VerifyOptions{
			Roots: roots, CurrentTime: c.now(), KeyUsages: []x509.ExtKeyUsage{tc.use},
		}); err != nil {
			t.Errorf("%s: %v", tc.name, err)
		}
		if cert.Subject.CommonName != tc.name {
			t.Errorf("common name %q, want %q", cert.Subject.CommonName, tc.name)
		}
		// A client's certificate that passed for a server's would let any client play the server.
		if len(cert.ExtKeyUsage) != 1 {
			t.Errorf("%s: key usages %v, want exactly one", tc.name, cert.ExtKeyUsage)
		}
	}
	if _, err := unwrapCryptKey(server.CryptV2, creds.CryptV2); err != nil {
		t.Errorf("the client's tls-crypt-v2 key: %v", err)
	}
}

func TestEverythingIsPrivate(t *testing.T) {
	s, _ := newStore(t)
	ensure(t, s)
	add(t, s, "phone")
	err := filepath.WalkDir(s.dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		want := fs.FileMode(0o600)
		if e.IsDir() {
			want = 0o700
		}
		if info.Mode().Perm() != want {
			t.Errorf("%s has mode %o, want %o", path, info.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestForeignDirectory: a directory that exists keeps its mode, and one that others can write to is
// refused.
func TestForeignDirectory(t *testing.T) {
	for mode, usable := range map[fs.FileMode]bool{0o755: true, 0o775: false} {
		s, _ := newStore(t)
		if err := errors.Join(os.MkdirAll(s.dir, 0o700), os.Chmod(s.dir, mode)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Ensure(); (err == nil) != usable {
			t.Errorf("a directory of mode %o: %v, want usable: %t", mode, err, usable)
		}
		info, err := os.Stat(s.dir)
		if err != nil || info.Mode().Perm() != mode {
			t.Errorf("mode %o became %v (%v)", mode, info.Mode(), err)
		}
	}
}

func TestSecretsPrintRedacted(t *testing.T) {
	s, _ := newStore(t)
	ensure(t, s)
	add(t, s, "phone")
	creds, err := s.Credentials("phone")
	if err != nil {
		t.Fatal(err)
	}
	server, err := s.Server()
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		text := fmt.Sprintf(verb+verb, creds, server)
		if strings.Contains(text, "KEY") || strings.Contains(text, "[45") {
			t.Errorf("%s prints a key: %.80s", verb, text)
		}
	}
}

func TestEnsureIsIdempotent(t *testing.T) {
	s, _ := newStore(t)
	if r := ensure(t, s); !r.Server || !r.CRL {
		t.Errorf("the first run made %+v, want all", r)
	}
	stamp := s.Stamp()
	if r := ensure(t, s); r != (Renewal{}) {
		t.Errorf("the second run renewed %+v, want nothing", r)
	}
	if s.Stamp() != stamp {
		t.Error("the second run changed a file")
	}
}

func TestAuthorityIsNeverReplacedSilently(t *testing.T) {
	for _, name := range []string{caFile, cryptFile} {
		s, _ := newStore(t)
		ensure(t, s)
		if err := os.Remove(s.path(name)); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Ensure(); !errors.Is(err, ErrDamaged) {
			t.Errorf("without %s: %v, want ErrDamaged", name, err)
		}
		if _, err := os.Lstat(s.path(name)); err == nil {
			t.Errorf("%s was made again: every client would be locked out", name)
		}
	}
}

func TestRevoke(t *testing.T) {
	s, c := newStore(t)
	ensure(t, s)
	phone := add(t, s, "phone")
	add(t, s, "laptop")
	if _, err := s.Revoke("phone"); err != nil {
		t.Fatal(err)
	}
	checkCRL(t, s, phone.Serial)
	if _, err := s.Credentials("phone"); !errors.Is(err, ErrRevoked) {
		t.Errorf("credentials of a revoked client: %v, want ErrRevoked", err)
	}
	if _, err := os.Lstat(s.path(credentialsFile(phone))); err == nil {
		t.Error("the keys of a revoked client are still there")
	}
	if _, err := s.Revoke("phone"); !errors.Is(err, ErrRevoked) {
		t.Errorf("revoking twice: %v, want ErrRevoked", err)
	}
	if _, err := s.Revoke("nobody"); !errors.Is(err, ErrUnknown) {
		t.Errorf("revoking an unknown client: %v, want ErrUnknown", err)
	}

	again := add(t, s, "phone")
	if again.Serial == phone.Serial || again.Host != phone.Host {
		t.Errorf("issued again: %+v, want another serial and the same host as %+v", again, phone)
	}
	checkCRL(t, s, phone.Serial) // the old certificate stays barred

	c.t = phone.Expires.Add(time.Hour)
	ensure(t, s)
	checkCRL(t, s) // an expired certificate needs no revocation any more
}

func checkCRL(t *testing.T, s *Store, want ...string) {
	t.Helper()
	crl, err := s.loadCRL()
	if err != nil {
		t.Fatal(err)
	}
	ca, err := s.loadPair(caFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := crl.CheckSignatureFrom(ca.cert); err != nil {
		t.Errorf("the revocation list: %v", err)
	}
	var have []string
	for _, e := range crl.RevokedCertificateEntries {
		have = append(have, formatSerial(e.SerialNumber))
	}
	if fmt.Sprint(have) != fmt.Sprint(want) {
		t.Errorf("revoked serials %v, want %v", have, want)
	}
}

func TestHostsStayWithTheirClients(t *testing.T) {
	s, _ := newStore(t)
	first := add(t, s, "one")
	second := add(t, s, "two")
	if first.Host != FirstHost || second.Host != FirstHost+1 {
		t.Fatalf("hosts %d and %d, want %d and %d", first.Host, second.Host, FirstHost, FirstHost+1)
	}
	if _, err := s.Revoke("one"); err != nil {
		t.Fatal(err)
	}
	if c := add(t, s, "three"); c.Host == first.Host {
		t.Error("a new client got the address of a revoked one: policies that name it would apply")
	}
	if _, err := s.Add(Request{Name: "four", Host: second.Host, LastHost: lastHost}); !errors.Is(
		err, ErrHostTaken) {
		t.Errorf("an address in use: %v, want ErrHostTaken", err)
	}
	if c, err := s.Add(Request{Name: "five", Host: 50, LastHost: lastHost}); err != nil ||
		c.Host != 50 {
		t.Errorf("a wanted address: host %d, %v", c.Host, err)
	}
	if _, err := s.Add(Request{Name: "six", Host: lastHost + 1, LastHost: lastHost}); err == nil {
		t.Error("an address outside the pool was given")
	}
	var err error
	for i := 0; err == nil && i <= lastHost; i++ {
		_, err = s.Add(Request{Name: fmt.Sprint("n", i), LastHost: 6})
	}
	if !errors.Is(err, ErrPoolFull) {
		t.Errorf("a full pool: %v, want ErrPoolFull", err)
	}
}

func TestWritersExcludeEachOther(t *testing.T) {
	s, _ := newStore(t)
	ensure(t, s)
	const n = 12
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			other := New(s.dir) // as another process would
			if _, err := other.Add(Request{Name: fmt.Sprint("c", i),
				LastHost: lastHost}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	clients, err := s.Clients()
	if err != nil {
		t.Fatal(err)
	}
	hosts := map[uint32]bool{}
	for _, c := range clients {
		hosts[c.Host] = true
	}
	if len(clients) != n || len(hosts) != n {
		t.Errorf("%d clients with %d addresses, want %d of each", len(clients), len(hosts), n)
	}
}

func TestNames(t *testing.T) {
	for name, good := range map[string]bool{
		"phone": true, "Anna.s-phone_2": true, "7": true, strings.Repeat("a", 48): true,
		"": false, ".hidden": false, "-rf": false, "../up": false, "a/b": false, "a b": false,
		"é":    false,
		"a\nb": false, strings.Repeat("a",
			49): false, ServerName: false, "ZTBRIDGE-endpoint": false,
	} {
		if err := CheckName(name); (err == nil) != good {
			t.Errorf("CheckName(%q) = %v", name, err)
		}
	}
	s, _ := newStore(t)
	add(t, s, "phone")
	if _, err := s.Add(Request{Name: "Phone", LastHost: lastHost}); !errors.Is(err, ErrExists) {
		t.Errorf("a name that differs in case only: %v, want ErrExists", err)
	}
}

func TestDue(t *testing.T) {
	day := 24 * time.Hour
	now := time.Date(2026, 5, 1, 0, 0, 0, 0, time.UTC)
	at := func(from, until int) validity {
		v := validity{CAUntil: now.Add(9999 * day)}
		v.ServerFrom, v.ServerUntil = now.Add(time.Duration(from)*day),
			now.Add(time.Duration(until)*day)
		v.CRLFrom, v.CRLUntil = now.Add(-day), now.Add(1000*day)
		return v
	}
	last := at(-300, 10)
	last.CAUntil = last.ServerUntil
	for name, tc := range map[string]struct {
		v    validity
		want Renewal
	}{
		"fresh":                       {at(-1, 300), Renewal{}},
		"two thirds gone":             {at(-201, 99), Renewal{Server: true}},
		"expired":                     {at(-300, -1), Renewal{Server: true}},
		"made by a clock of tomorrow": {at(2, 300), Renewal{Server: true}},
		"nothing there": {validity{CAUntil: now.Add(day)},
			Renewal{Server: true, CRL: true}},
		"as long as the authority can": {last, Renewal{}},
	} {
		if got := renewal(now, tc.v); got != tc.want {
			t.Errorf("%s: %+v, want %+v", name, got, tc.want)
		}
	}
}

// Keys that were made while the clock was wrong are good once it is right.
func TestKeysOfAWrongClock(t *testing.T) {
	for name, wrong := range map[string]time.Time{
		"a board without a battery": time.Unix(40, 0),
		"last year's shutdown":      time.Date(2025, 9, 1, 0, 0, 0, 0, time.UTC),
		"years ahead":               time.Date(2041, 1, 1, 0, 0, 0, 0, time.UTC),
	} {
		s, c := newStore(t)
		right := c.t
		c.t = wrong
		ensure(t, s)
		add(t, s, "phone")
		c.t = right
		ensure(t, s)
		_, creds, roots := issued(t, s)
		for _, at := range []time.Time{right, right.Add(4 * 365 * 24 * time.Hour)} {
			c.t = at
			ensure(t, s)
			server, _, _ := issued(t, s)
			for _, cert := range [][]byte{server.Cert, creds.Cert} {
				if _, err := parseCert(t, cert).Verify(x509.VerifyOptions{Roots: roots,
					CurrentTime: at, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
				}); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
			if !creds.Client.Valid(at) {
				t.Errorf("%s: the client expires at %s", name, creds.Client.Expires)
			}
		}
	}
}

func TestServerCertificateRenewsItself(t *testing.T) {
	s, c := newStore(t)
	ensure(t, s)
	before, err := s.Server()
	if err != nil {
		t.Fatal(err)
	}
	for range 6 {
		c.t = c.t.Add(60 * 24 * time.Hour)
		ensure(t, s)
		now, err := s.Server()
		if err != nil {
			t.Fatal(err)
		}
		if left := now.Expires.Sub(c.t); left < serverLife/4 {
			t.Errorf("at %s the server's certificate has %s left", c.t, left)
		}
	}
	after, err := s.Server()
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(before.Cert, after.Cert) || !bytes.Equal(before.CA, after.CA) {
		t.Error("want another certificate of the same authority")
	}
}

// Settings follow the configuration unless a client has its own, and change without new keys.
func TestSettings(t *testing.T) {
	s, _ := newStore(t)
	before := add(t, s, "phone")
	if before.Settings != (Settings{}) {
		t.Errorf("a new client has settings of its own: %+v", before.Settings)
	}
	off := false
	got, err := s.Set("phone", func(c *Settings) { c.Tunnel, c.DNS = TunnelZeroTier, &off })
	if err != nil {
		t.Fatal(err)
	}
	after, err := s.Client("phone")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []Client{got, after} {
		if c.Tunnel != TunnelZeroTier || c.DNS == nil || *c.DNS || c.Serial != before.Serial {
			t.Errorf("after the change: %+v", c)
		}
	}
	if _, err := s.Set("phone", func(c *Settings) { c.Tunnel = "half" }); err == nil {
		t.Error("a mode that does not exist was set")
	}
	if _, err := s.Set("nobody", func(*Settings) {}); !errors.Is(err, ErrUnknown) {
		t.Errorf("of a stranger: %v", err)
	}
	if _, err := s.Revoke("phone"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Set("phone", func(*Settings) {}); !errors.Is(err, ErrRevoked) {
		t.Errorf("of a revoked client: %v", err)
	}
}

// In a store of version 1 each client has settings of its own. Those that agree with the
// configuration follow it from then on; the others stay, and so no client's traffic moves.
func TestStoreOfVersion1(t *testing.T) {
	s, _ := newStore(t)
	for _, name := range []string{"plain", "split", "names"} {
		add(t, s, name)
	}
	data, err := os.ReadFile(s.path(indexFile))
	if err != nil {
		t.Fatal(err)
	}
	old := strings.Replace(string(data), `"version": 2`, `"version": 1`, 1)
	old = strings.Replace(old, `"name": "split",`, `"name": "split", "network_only": true,`, 1)
	old = strings.Replace(old, `"name": "names",`, `"name": "names", "no_dns": true,`, 1)
	if err := os.WriteFile(s.path(indexFile), []byte(old), 0o600); err != nil {
		t.Fatal(err)
	}
	show := func() map[string]string {
		out := map[string]string{}
		clients, err := s.Clients()
		if err != nil {
			t.Fatal(err)
		}
		for _, c := range clients {
			out[c.Name] = c.Tunnel
			if c.DNS != nil {
				out[c.Name] += fmt.Sprint(" ", *c.DNS)
			}
		}
		return out
	}
	want := map[string]string{"plain": "full true", "split": "zerotier true", "names": "full false"}
	if got := show(); !maps.Equal(got, want) {
		t.Errorf("read as %v, want %v", got, want)
	}
	on := true
	for range 2 { // a second time it changes nothing
		if err := s.FollowDefaults(Settings{Tunnel: TunnelFull, DNS: &on}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Ensure(); err != nil {
			t.Fatal(err)
		}
		want = map[string]string{"plain": "", "split": "zerotier", "names": " false"}
		if got := show(); !maps.Equal(got, want) {
			t.Errorf("upgraded to %v, want %v", got, want)
		}
	}
}
