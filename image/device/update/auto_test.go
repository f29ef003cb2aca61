package update

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// server is a release that the box looks at, and a clock.
type server struct {
	*fixture
	Auto
	t         *testing.T
	now       time.Time
	files     map[string][]byte
	restarted bool
}

func newServer(t *testing.T) *server {
	s := &server{fixture: newFixture(t), t: t, files: map[string][]byte{},
		now: time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)}
	s.write(t, "image.json", []byte(
		`{"target":"cloud-amd64","version":"1.0.0","updates":"https://u.example.org/updates"}`))
	s.Auto = Auto{Channel: "stable", From: 3 * time.Hour, Until: 5 * time.Hour, machine: "box"}
	s.write(t, "data/update/auto.json", []byte(`{"machine":"box"}`))
	s.Get = func(_ context.Context, address string) ([]byte, error) {
		name, _ := strings.CutPrefix(address, "https://u.example.org/updates/")
		if text, ok := s.files[name]; ok {
			return text, nil
		}
		return nil, fmt.Errorf("%s: %w", address, fs.ErrNotExist)
	}
	s.Fetch = func(ctx context.Context, address string) (string, error) {
		text, err := s.Get(ctx, address)
		if err != nil {
			return "", err
		}
		s.write(t, "data/update/bundle", text)
		return filepath.Join(s.DataDir, "update/bundle"), nil
	}
	s.Box.Restart = func(context.Context) error { s.restarted = true; return nil }
	return s
}

// offer publishes a version as a release does, days ago.
func (s *server) offer(version string, days int, change func(*Channel)) {
	s.t.Helper()
	created := s.now.AddDate(0, 0, -days)
	c := Channel{Name: "stable", Version: version, Created: created,
		Expires: created.AddDate(0, 0, 90), Bundles: map[string]ChannelEntry{
			"cloud-amd64": {File: "cloud-amd64-" + version + ".update"}}}
	s.files[c.Bundles["cloud-amd64"].File] = s.bundleWith(s.t, Manifest{Target: "cloud-amd64",
		Version: version, Created: created}, s.key)
	if change != nil {
		change(&c)
	}
	s.sign(c, s.key)
}

func (s *server) sign(c Channel, key ed25519.PrivateKey) {
	s.t.Helper()
	text, err := json.Marshal(c)
	if err != nil {
		s.t.Fatal(err)
	}
	s.files["stable.json"] = text
	if s.files["stable.json.minisig"], err = Sign(text, "a test", key); err != nil {
		s.t.Fatal(err)
	}
}

func (s *server) step() (string, error) { return s.Step(s.t.Context(), s.Auto, s.now) }

func (s *server) mustStep() string {
	s.t.Helper()
	told, err := s.step()
	if err != nil {
		s.t.Fatal(err)
	}
	return told
}

// A version that rises is installed, tried within the window and not before, and told all the way.
func TestBoxKeepsItselfCurrent(t *testing.T) {
	s := newServer(t)
	s.offer("1.0.0", 5, nil)
	if told := s.mustStep(); told != "version 1.0.0 is current" {
		t.Errorf("told %q", told)
	}
	s.now = s.now.Add(lookEvery)
	s.offer("1.1.0", 3, nil)
	told := s.mustStep()
	if s.state(t) != Prepared || !strings.HasPrefix(told, "version 1.1.0 is installed") {
		t.Fatalf("state %s, told %q", s.state(t), told)
	}
	at := s.restartAt(s.now)
	if hour := at.Hour(); hour < 3 || hour > 4 || !strings.Contains(told, at.Format("2006-01-02 15:04")) {
		t.Errorf("it restarts at %s, told %q", at, told)
	}
	if s.now = at.Add(-time.Minute); s.mustStep() == "" || s.restarted {
		t.Fatal("restarted before its moment")
	}
	if s.now = at.Add(time.Minute); !strings.HasPrefix(s.mustStep(), "restarting") || !s.restarted {
		t.Fatal("not restarted at its moment")
	}
	if s.AutoTold() != "restarting into version 1.1.0" {
		t.Errorf("told people %q", s.AutoTold())
	}
}

// A box that waits for its turn asks the server no more often than any other, and when it has come.
func TestWaitingForTheTurn(t *testing.T) {
	s := newServer(t)
	s.offer("1.1.0", 0, nil)
	asked, get := 0, s.Get
	s.Get = func(ctx context.Context, address string) ([]byte, error) {
		asked++
		return get(ctx, address)
	}
	s.mustStep()
	turn := s.autoState().Turn
	looks := int(turn.Sub(s.now)/lookEvery) + 1
	for ; s.now.Before(turn); s.now = s.now.Add(10 * time.Minute) {
		s.mustStep()
	}
	if looks < 2 || asked != 2*looks || s.state(t) != InUse {
		t.Errorf("asked for %d files, want 2 in each of %d looks", asked, looks)
	}
	if s.mustStep(); s.state(t) != Prepared {
		t.Errorf("state %s after the turn", s.state(t))
	}
}

// A person's wish goes before the turn and the window, and a version that failed stays out.
func TestUpdateAtOnce(t *testing.T) {
	s := newServer(t)
	s.offer("1.1.0", 0, nil)
	if told := s.mustStep(); s.state(t) != InUse || !strings.Contains(told, "this box's turn") {
		t.Fatalf("state %s, told %q", s.state(t), told)
	}
	s.Now = true
	if told := s.mustStep(); told != "restarting into version 1.1.0" || !s.restarted ||
		s.state(t) != Prepared {
		t.Fatalf("state %s, restarted %t, told %q", s.state(t), s.restarted, told)
	}
	s.boots(t) // slot B, which is not kept
	s.boots(t)
	s.restarted = false
	if told := s.mustStep(); s.restarted || !strings.Contains(told, "failed its trial") {
		t.Errorf("restarted %t, told %q", s.restarted, told)
	}
	bundle := s.bundleWith(t, Manifest{Target: "cloud-amd64", Version: "1.2.0"}, s.key)
	if _, err := s.Apply(t.Context(), bytes.NewReader(bundle), false); err != nil {
		t.Fatal(err)
	}
	if told := s.mustStep(); !s.restarted {
		t.Errorf("what a person installed is not restarted into: %q", told)
	}
}

// A full disk takes nothing from what is remembered: an older channel file is refused all the same.
func TestStateOnAFullDisk(t *testing.T) {
	b := &Box{DataDir: t.TempDir()}
	if err := unix.Mount("none", b.DataDir, "tmpfs", 0, "size=64k"); err != nil {
		t.Skip("SKIPPED: this user or container may not mount:", err)
	}
	defer func() { _ = unix.Unmount(b.DataDir, unix.MNT_DETACH) }()
	newest := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	if err := b.saveAutoState(autoState{Newest: newest}); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(b.DataDir, "fill"), make([]byte, 1<<20),
		0o600); !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if err := b.saveAutoState(autoState{Newest: newest,
		Told: strings.Repeat("x", 1<<14)}); !errors.Is(err, unix.ENOSPC) {
		t.Errorf("saved on a full disk: %v", err)
	}
	if got := b.autoState().Newest; !got.Equal(newest) {
		t.Errorf("the newest channel file is of %v afterwards", got)
	}
}

// A version that failed its trial here is not tried again each night.
func TestFailedVersionIsLeft(t *testing.T) {
	s := newServer(t)
	s.offer("1.1.0", 3, nil)
	s.mustStep()
	s.boots(t) // slot B, which is not kept
	s.boots(t)
	s.now = s.now.Add(lookEvery)
	if told := s.mustStep(); s.state(t) != FellBack || !strings.Contains(told, "failed its trial") {
		t.Errorf("state %s, told %q", s.state(t), told)
	}
	s.now = s.now.Add(lookEvery)
	s.offer("1.1.1", 3, nil)
	if told := s.mustStep(); s.state(t) != Prepared {
		t.Errorf("the version after it: %q", told)
	}
}

// What a person has installed waits for that person.
func TestPersonsUpdateIsNotRestartedInto(t *testing.T) {
	s := newServer(t)
	bundle := s.bundleWith(t, Manifest{Target: "cloud-amd64", Version: "1.2.0"}, s.key)
	if _, err := s.Apply(t.Context(), bytes.NewReader(bundle), false); err != nil {
		t.Fatal(err)
	}
	s.now = s.restartAt(s.now).Add(time.Minute)
	if told := s.mustStep(); told != "" || s.restarted {
		t.Errorf("told %q, restarted %v", told, s.restarted)
	}
}

func TestChannelFilesThatAreRefused(t *testing.T) {
	stranger := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{9}, ed25519.SeedSize))
	tests := map[string]struct {
		spoil func(s *server)
		want  error
	}{
		"another key": {func(s *server) {
			s.sign(Channel{Name: "stable", Version: "9", Created: s.now, Expires: s.now}, stranger)
		}, ErrUnsigned},
		"changed": {func(s *server) {
			s.files["stable.json"] = bytes.Replace(s.files["stable.json"], []byte("1.1.0"),
				[]byte("1.1.9"), 1)
		}, ErrUnsigned},
		"stale":           {func(s *server) { s.now = s.now.AddDate(0, 0, 90) }, ErrExpired},
		"replayed":        {func(s *server) { s.mustStep(); s.later(); s.offer("1.2.0", 9, nil) }, ErrReplayed},
		"another channel": {func(s *server) { s.offer("1.1.0", 3, func(c *Channel) { c.Name = "x" }) }, ErrChannel},
		"a path": {func(s *server) {
			s.offer("1.1.0", 3, func(c *Channel) {
				c.Bundles["cloud-amd64"] = ChannelEntry{File: "../../x"}
			})
		}, ErrChannel},
		"truncated bundle": {func(s *server) {
			for name, text := range s.files {
				if path.Ext(name) == ".update" {
					s.files[name] = text[:len(text)-10]
				}
			}
		}, ErrDamaged},
		"a bundle of another version": {func(s *server) {
			s.files["cloud-amd64-1.1.0.update"] = s.bundleWith(s.t, Manifest{Target: "cloud-amd64",
				Version: "1.0.5"}, s.key)
		}, ErrDamaged},
		"no server": {func(s *server) {
			s.write(s.t, "image.json", []byte(`{"target":"cloud-amd64","version":"1.0.0"}`))
		}, ErrNoServer},
		"no key": {func(s *server) { _ = os.Remove(s.KeyFile) }, ErrNoKey},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			if name != "replayed" {
				s.offer("1.1.0", 3, nil)
			} else {
				s.offer("1.0.0", 3, nil)
			}
			tt.spoil(s)
			told, err := s.step()
			if !errors.Is(err, tt.want) || s.state(t) != InUse {
				t.Errorf("error = %v, want %v; state %s", err, tt.want, s.state(t))
			}
			if !strings.Contains(told, tt.want.Error()) || s.AutoTold() != told {
				t.Errorf("people are told %q", told)
			}
		})
	}
}

func (s *server) later() { s.now = s.now.Add(lookEvery) }

// A box whose state is lost, or that never had one, takes a turn, and keeps it.
func TestTurnWithoutState(t *testing.T) {
	s := newServer(t)
	s.offer("1.1.0", 0, nil)
	seen := map[string]bool{}
	for range 2 {
		if err := os.Remove(s.autoFile()); err != nil {
			t.Fatal(err)
		}
		s.mustStep()
		machine := s.autoState().Machine
		s.now = s.now.Add(lookEvery)
		if s.mustStep(); machine == "" || seen[machine] || s.autoState().Machine != machine {
			t.Errorf("the box is %q, then %q; others: %v", machine, s.autoState().Machine, seen)
		}
		seen[machine] = true
	}
}

// A lower version is no offer, whoever signed it.
func TestLowerVersionInChannelIsNoOffer(t *testing.T) {
	s := newServer(t)
	s.offer("0.9.0", 3, nil)
	if told := s.mustStep(); told != "version 1.0.0 is current" || s.state(t) != InUse {
		t.Errorf("told %q, state %s", told, s.state(t))
	}
}

// Boxes take their turns: not all install, and not all restart, at once.
func TestTurnsAreSpread(t *testing.T) {
	installs, restarts := map[time.Duration]bool{}, map[time.Time]bool{}
	now := time.Date(2026, 5, 1, 12, 0, 0, 0, time.UTC)
	for i := range 100 {
		a := Auto{From: 23 * time.Hour, Until: time.Hour, machine: fmt.Sprint(i)}
		share := a.share("1.1.0", spreadOver)
		if share < 0 || share >= spreadOver || share != a.share("1.1.0", spreadOver) {
			t.Fatalf("share %s", share)
		}
		installs[share.Truncate(time.Hour)] = true
		at := a.restartAt(now)
		if at.Before(now) || at.Before(now.Truncate(dayLength).Add(23*time.Hour)) ||
			at.After(now.Truncate(dayLength).Add(25*time.Hour)) {
			t.Errorf("box %d restarts at %s", i, at)
		}
		restarts[at.Truncate(5*time.Minute)] = true
	}
	if len(installs) < 30 || len(restarts) < 15 {
		t.Errorf("100 boxes install in %d hours and restart in %d parts of the window",
			len(installs), len(restarts))
	}
	s := newServer(t)
	s.offer("1.1.0", 0, nil)
	if told := s.mustStep(); !strings.Contains(told, "this box's turn is at") {
		t.Errorf("on the day of the release: %q", told)
	}
}

func FuzzOpenChannel(f *testing.F) {
	key := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	public := key.Public().(ed25519.PublicKey)
	f.Add([]byte(`{"channel":"stable","bundles":{"t":{"file":"a"}}}`), []byte("untrusted comment: x\n"))
	f.Fuzz(func(t *testing.T, text, signature []byte) {
		if c, err := OpenChannel(text, signature, public); err == nil {
			t.Errorf("a file that nobody signed was accepted: %+v", c)
		}
		signed, err := Sign(text, "fuzz", key)
		if err != nil {
			t.Fatal(err)
		}
		if c, err := OpenChannel(text, signed, public); err == nil {
			for _, entry := range c.Bundles {
				if strings.Contains(entry.File, "/") {
					t.Errorf("accepted: %+v", c)
				}
			}
		}
	})
}
