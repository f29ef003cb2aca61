package pki

import (
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"testing"
)

// A restore does not let those in again that were revoked since the backup.
func TestRestoreKeepsRevocations(t *testing.T) {
	for name, c := range map[string]struct {
		spoil   func(*testing.T, *Store)
		valid   string // clients that may connect afterwards
		barred  string
		unknown bool
	}{
		"readable": {func(*testing.T, *Store) {}, "laptop", "phone", false},
		"index damaged, list there": {func(t *testing.T, s *Store) {
			overwrite(t, s.path(indexFile), "{")
		}, "laptop", "phone", true},
		"index lost": {func(t *testing.T, s *Store) {
			remove(t, s.path(indexFile))
		}, "laptop", "phone", true},
		"index and authority lost": {func(t *testing.T, s *Store) {
			remove(t, s.path(indexFile))
			remove(t, s.path(caFile))
		}, "laptop", "phone", true},
		"index and list damaged": {func(t *testing.T, s *Store) {
			overwrite(t, s.path(indexFile), "{")
			overwrite(t, s.path(crlFile), "")
		}, "laptop phone", "", true},
		"authority lost too": {func(t *testing.T, s *Store) {
			overwrite(t, s.path(indexFile), "{")
			overwrite(t, s.path(caFile), "")
		}, "laptop", "phone", true},
		"another authority": {func(t *testing.T, s *Store) {
			if err := os.RemoveAll(s.dir); err != nil {
				t.Fatal(err)
			}
			ensure(t, s)
			add(t, s, "phone")
			if _, err := s.Revoke("phone"); err != nil {
				t.Fatal(err)
			}
		}, "laptop phone", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			s, clock := newStore(t)
			ensure(t, s)
			phone := add(t, s, "phone")
			add(t, s, "laptop")
			var b strings.Builder
			if err := s.Export(&b, passphrase); err != nil {
				t.Fatal(err)
			}
			if _, err := s.Revoke("phone"); err != nil {
				t.Fatal(err)
			}
			c.spoil(t, s)
			done, err := s.Import(strings.NewReader(b.String()), passphrase, true)
			if err != nil {
				t.Fatal(err)
			}
			if got := strings.Join(done.Revoked, " "); got != c.barred ||
				(done.Unknown != nil) != c.unknown || done.Kept == "" {
				t.Errorf("%+v, want barred %q, unknown %t", done, c.barred, c.unknown)
			}
			clients, err := s.Clients()
			if err != nil {
				t.Fatal(err)
			}
			var valid []string
			for _, client := range clients {
				if client.Valid(clock.now()) {
					valid = append(valid, client.Name)
				}
			}
			if got := strings.Join(valid, " "); got != c.valid {
				t.Errorf("valid are %q, want %q", got, c.valid)
			}
			if c.barred == "" {
				checkCRL(t, s)
				return
			}
			checkCRL(t, s, phone.Serial)
			if _, err := os.Stat(s.path(credentialsFile(phone))); !os.IsNotExist(err) {
				t.Errorf("the keys of a revoked client are there again: %v", err)
			}
		})
	}
}

// A number that a client got after the backup is not given to another one.
func TestMergeKeepsNumbers(t *testing.T) {
	old, now := newIndex(), newIndex()
	now.NextHost = 9
	now.Revoked = []revocation{{Serial: "a"}, {Serial: "a"}}
	if barred := old.merge(now); old.NextHost != 9 || len(old.Revoked) != 1 ||
		slices.Contains(barred, "") {
		t.Errorf("%+v, barred %v", old, barred)
	}
}

// A store without its index is not taken for a new one, whatever else is left of it: nothing in it
// is replaced or deleted.
func TestLostIndexIsDamage(t *testing.T) {
	for name, left := range map[string]func(Client) string{
		"the server's certificate": func(Client) string { return serverFile },
		"the revocation list":      func(Client) string { return crlFile },
		"a client's keys":          credentialsFile,
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newStore(t)
			ensure(t, s)
			phone := add(t, s, "phone")
			var b strings.Builder
			if err := s.Export(&b, passphrase); err != nil {
				t.Fatal(err)
			}
			for _, name := range []string{indexFile, serverFile, crlFile, credentialsFile(phone)} {
				if name != left(phone) {
					remove(t, s.path(name))
				}
			}
			_, ensureErr := s.Ensure()
			_, addErr := s.Add(Request{Name: "laptop", LastHost: lastHost})
			_, clientsErr := s.Clients()
			for what, err := range map[string]error{"ensure": ensureErr, "add": addErr,
				"clients": clientsErr, "export": s.Export(io.Discard, passphrase)} {
				if !errors.Is(err, ErrDamaged) {
					t.Errorf("%s: %v, want ErrDamaged", what, err)
				}
			}
			if _, err := os.Stat(s.path(left(phone))); err != nil {
				t.Errorf("what was left is gone: %v", err)
			}
			if _, err := s.Import(strings.NewReader(b.String()), passphrase, false); !errors.Is(err,
				ErrOverwrite) {
				t.Errorf("a restore unasked: %v, want ErrOverwrite", err)
			}
		})
	}
}

func remove(t *testing.T, path string) {
	t.Helper()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
