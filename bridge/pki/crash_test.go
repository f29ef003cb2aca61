package pki

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ztbridge/bridge/sealed"
)

// crashAt makes the n-th step on the disk, and all after it, fail as if the machine had stopped
// there.
func crashAt(s *Store, n int) {
	s.disk.fault = func(string) error {
		if n--; n < 0 {
			return errCrash
		}
		return nil
	}
}

// TestCrashAtEveryStep stops each operation at each of its steps on the disk, starts again, and
// asks for a whole store that holds either the state before or the one after.
func TestCrashAtEveryStep(t *testing.T) {
	backup := func(t *testing.T) string {
		s, _ := newStore(t)
		ensure(t, s)
		add(t, s, "restored")
		var b strings.Builder
		if err := s.Export(&b, passphrase); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}(t)
	operations := []struct {
		name  string
		setup func(*testing.T, *Store)
		run   func(*Store) error
		// before and after are the valid clients of the two states allowed.
		before, after string
	}{
		{
			"first run", func(*testing.T, *Store) {},
			func(s *Store) error { _, err := s.Ensure(); return err }, "", "",
		},
		{
			"add", func(t *testing.T, s *Store) { ensure(t, s); add(t, s, "old") },
			func(s *Store) error {
				_,
					err := s.Add(Request{Name: "new", LastHost: lastHost})
				return err
			},
			"old", "new old",
		},
		{
			"revoke", func(t *testing.T, s *Store) { ensure(t, s); add(t, s, "a"); add(t, s, "b") },
			func(s *Store) error { _, err := s.Revoke("a"); return err }, "a b", "b",
		},
		{
			"issue again",
			func(t *testing.T, s *Store) {
				ensure(t, s)
				add(t, s, "a")
				if _, err := s.Revoke("a"); err != nil {
					t.Fatal(err)
				}
			},
			func(s *Store) error {
				_,
					err := s.Add(Request{Name: "a", LastHost: lastHost})
				return err
			}, "", "a",
		},
		{
			"restore", func(t *testing.T, s *Store) { ensure(t, s); add(t, s, "old") },
			func(s *Store) error {
				_, err := s.Import(strings.NewReader(backup), passphrase, true)
				return err
			},
			"old", "restored",
		},
	}
	for _, op := range operations {
		t.Run(op.name, func(t *testing.T) {
			for n := 0; ; n++ {
				if n > 200 {
					t.Fatal("the operation never ends")
				}
				s, _ := newStore(t)
				op.setup(t, s)
				crashAt(s, n)
				err := op.run(s)
				if err != nil && !errors.Is(err, errCrash) {
					t.Fatalf("step %d: %v", n, err)
				}
				s.disk.fault = nil
				crashed := err != nil
				ensure(t, s)
				got := checkWhole(t, s)
				if got != op.after && (!crashed || got != op.before) {
					t.Fatalf("step %d (crashed: %v): clients %q, want %q or %q", n, crashed, got,
						op.before, op.after)
				}
				if !crashed {
					return
				}
			}
		})
	}
}

// checkWhole checks every promise about a store at rest, and returns the names of its valid
// clients.
func checkWhole(t *testing.T, s *Store) string {
	t.Helper()
	ix, err := s.loadIndex()
	if err != nil {
		t.Fatal(err)
	}
	var valid, revoked []string
	for _, c := range ix.Clients {
		if !c.Valid(s.now()) {
			continue
		}
		valid = append(valid, c.Name)
		if _, err := s.Credentials(c.Name); err != nil {
			t.Errorf("keys of %s: %v", c.Name, err)
		}
	}
	for _, r := range ix.Revoked {
		revoked = append(revoked, r.Serial)
	}
	checkCRL(t, s, revoked...)
	if _, err := s.Server(); err != nil {
		t.Error(err)
	}
	files, err := filepath.Glob(filepath.Join(s.dir, clientsDir, "*"))
	if err != nil {
		t.Fatal(err)
	}
	if len(files) != len(valid) {
		t.Errorf("key files %v for the clients %v", files, valid)
	}
	left, err := filepath.Glob(filepath.Join(s.dir, tmpPrefix+"*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left over: %v %v", left, err)
	}
	return strings.Join(valid, " ")
}

const passphrase = "a passphrase for tests"

func TestBackup(t *testing.T) {
	s, _ := newStore(t)
	ensure(t, s)
	add(t, s, "phone")
	lost := add(t, s, "lost")
	if _, err := s.Revoke("lost"); err != nil {
		t.Fatal(err)
	}
	want, err := s.Credentials("phone")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := s.Export(&b, passphrase); err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(b.String(), "-----BEGIN AGE ENCRYPTED FILE-----") ||
		strings.Contains(b.String(), "phone") {
		t.Errorf("the backup is not an age file:\n%.100s", b.String())
	}

	other, _ := newStore(t)
	if _, err := other.Import(strings.NewReader(b.String()), "another passphrase",
		false); !errors.Is(err, sealed.ErrPassphrase) {
		t.Errorf("a wrong passphrase: %v, want ErrPassphrase", err)
	}
	if _, err := os.Lstat(other.dir); err == nil {
		t.Error("a wrong passphrase left a key store behind")
	}
	if _, err := other.Import(strings.NewReader(b.String()), passphrase, false); err != nil {
		t.Fatal(err)
	}
	got, err := other.Credentials("phone")
	if err != nil {
		t.Fatal(err)
	}
	if string(got.Cert) != string(want.Cert) || string(got.CryptV2) != string(want.CryptV2) ||
		got.Client != want.Client {
		t.Error("the restored client is another one")
	}
	checkCRL(t, other, lost.Serial)

	if _, err := other.Import(strings.NewReader(b.String()), passphrase, false); !errors.Is(err,
		ErrOverwrite) {
		t.Errorf("a restore over an existing store: %v, want ErrOverwrite", err)
	}
	add(t, other, "since")
	again, err := other.Import(strings.NewReader(b.String()), passphrase, true)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := New(again.Kept).Client("since"); err != nil {
		t.Errorf("the replaced store was not kept: %v", err)
	}
}

func TestBackupRefuses(t *testing.T) {
	s, _ := newStore(t)
	ensure(t, s)
	var b strings.Builder
	if err := s.Export(&b, "short"); !errors.Is(err, sealed.ErrWeak) {
		t.Errorf("a short passphrase: %v, want ErrWeak", err)
	}
	if b.Len() > 0 {
		t.Error("something was written under a short passphrase")
	}
	if err := s.Export(&b, passphrase); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	for name, bad := range map[string]string{
		"empty": "", "noise": "hello", "cut short": text[:len(text)/2],
		"one letter changed": strings.Replace(text, text[400:401], "!", 1),
	} {
		other, _ := newStore(t)
		if _, err := other.Import(strings.NewReader(bad), passphrase, false); err == nil {
			t.Errorf("%s: accepted", name)
		}
		if _, err := os.Lstat(other.dir); err == nil {
			t.Errorf("%s: left a key store behind", name)
		}
	}

	whole, err := s.bundle()
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(*bundle){
		"a file outside":  func(b *bundle) { b.Files["../../etc/cron.d/x"] = []byte("x") },
		"without its CA":  func(b *bundle) { delete(b.Files, caFile) },
		"a later version": func(b *bundle) { b.Version++ },
		"another's CA":    func(b *bundle) { b.Files[caFile] = []byte("x") },
	} {
		b := bundle{Version: whole.Version, Files: map[string][]byte{}}
		maps.Copy(b.Files, whole.Files)
		spoil(&b)
		if err := b.check(); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
