package backup

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ztbridge/bridge/sealed"
)

const (
	passphrase = "correct horse battery"
	quick      = 8 // scrypt at its real cost takes a second
	network    = "abcdef0123000001"
)

// machine is a box made of folders.
type machine struct {
	Places
	home string
}

func newMachine(t testing.TB) machine {
	t.Helper()
	root := t.TempDir()
	return machine{Places{Config: filepath.Join(root, "etc", "ztbridge.yaml"),
		State: filepath.Join(root, "state"), System: filepath.Join(root, "system")},
		filepath.Join(root, "zerotier")}
}

func put(t testing.TB, path, text string, mode fs.FileMode) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(path, mode); err != nil { // whatever the umask
		t.Fatal(err)
	}
}

// tree returns all files of the machine with mode and content, by name.
func (m machine) tree(t testing.TB) map[string]string {
	t.Helper()
	out := map[string]string{}
	root := filepath.Dir(m.State)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		name, _ := filepath.Rel(root, path)
		info, err := d.Info()
		if err != nil {
			return err
		}
		data := []byte("directory")
		if !d.IsDir() {
			if data, err = os.ReadFile(path); err != nil {
				return err
			}
		}
		out[name] = fmt.Sprintf("%o %s", info.Mode().Perm(), data)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// fill makes the machine a box in use.
func (m machine) fill(t testing.TB) {
	t.Helper()
	elsewhere := filepath.Join(t.TempDir(), "elsewhere.ovpn")
	put(t, elsewhere, "remote elsewhere.example.org\n", 0o644)
	put(t, m.Config, "# mine\nzerotier: {home: "+m.home+", networks: ["+network+"]}\negress:\n"+
		"  a: {openvpn: {profile: vpn/a.ovpn, credentials: a.auth}}\n"+
		"  b: {openvpn: {profile: "+elsewhere+"}}\n", 0o640)
	dir := filepath.Dir(m.Config)
	put(t, filepath.Join(dir, "vpn", "a.ovpn"), "remote a.example.org\n", 0o644)
	put(t, filepath.Join(dir, "a.auth"), "user\npassword-a\n", 0o600)
	put(t, filepath.Join(dir, "unrelated.txt"), "not ours", 0o644)
	put(t, filepath.Join(m.State, "pki", "ca.pem"), "authority", 0o600)
	put(t, filepath.Join(m.State, "pki", "clients", "1.pem"), "phone's", 0o600)
	put(t, filepath.Join(m.State, "pki.replaced-2026", "ca.pem"), "old", 0o600)
	put(t, filepath.Join(m.State, "links", "open.json"), "[]", 0o600)
	put(t, filepath.Join(m.State, "egress-chosen"), "b\n", 0o600)
	put(t, filepath.Join(m.State, "history.db"), "large", 0o600)
	put(t, filepath.Join(m.State, ".tmp-1"), "half", 0o600)
	put(t, filepath.Join(m.home, "identity.secret"), "a1b2c3d4e5:0:public:secret", 0o600)
	put(t, filepath.Join(m.home, "identity.public"), "a1b2c3d4e5:0:public", 0o644)
	put(t, filepath.Join(m.home, "authtoken.secret"), "token", 0o600)
	put(t, filepath.Join(m.home, "networks.d", network+".conf"), "n=1", 0o600)
	put(t, filepath.Join(m.home, "peers.d", "x.peer"), "peer", 0o600)
	put(t, filepath.Join(m.System, "authorized_keys"), "ssh-ed25519 AAAA", 0o600)
}

// taken returns a backup of the machine.
func (m machine) taken(t testing.TB) []byte {
	t.Helper()
	var b bytes.Buffer
	if _, err := write(&b, m.Places, "1.2.3", passphrase, quick); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// seal encrypts an archive.
func seal(t testing.TB, archive []byte) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := sealed.Seal(&b, passphrase, quick)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(archive); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func (m machine) restore(from []byte, replace bool) (Restored, error) {
	return Restore{Places: m.Places, Replace: replace}.Do(context.Background(),
		bytes.NewReader(from), passphrase)
}

// moved is a new machine whose zerotier-one has the home directory that the backup names.
func moved(t testing.TB, from machine) machine {
	t.Helper()
	if err := os.Rename(from.home, from.home+".old"); err != nil {
		t.Fatal(err)
	}
	m := newMachine(t)
	m.home = from.home
	return m
}

func TestRestoreOnNewBox(t *testing.T) {
	old := newMachine(t)
	old.fill(t)
	made := old.taken(t)
	for _, secret := range []string{"password-a", "secret", "authority", network} {
		if bytes.Contains(made, []byte(secret)) {
			t.Errorf("%q is in the file for all to read", secret)
		}
	}
	m := moved(t, old)
	// zerotier-one made itself an identity at its first start, and a person gave a key.
	put(t, filepath.Join(m.home, "identity.secret"), "ffffffffff:0:p:s", 0o600)
	put(t, filepath.Join(m.home, "authtoken.secret"), "of this box", 0o600)
	put(t, filepath.Join(m.System, "authorized_keys"), "another key", 0o600)
	done, err := m.restore(made, false)
	if err != nil {
		t.Fatal(err)
	}
	if done.Version != "1.2.3" || done.Files != 12 || len(done.Aside) != 1 {
		t.Errorf("%+v", done)
	}
	got := m.tree(t)
	want := map[string]string{
		"etc/vpn/a.ovpn":           "644 remote a.example.org\n",
		"etc/a.auth":               "600 user\npassword-a\n",
		"etc/files/elsewhere.ovpn": "644 remote elsewhere.example.org\n",
		"state/pki/ca.pem":         "600 authority", "state/pki/clients/1.pem": "600 phone's",
		"state/links/open.json": "600 []", "state/egress-chosen": "600 b\n",
		"system/authorized_keys": "600 another key",
	}
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s is %q, want %q", name, got[name], text)
		}
	}
	if conf := got["etc/ztbridge.yaml"]; !strings.HasPrefix(conf, "640 # mine\n") ||
		!strings.Contains(conf, "'files/elsewhere.ovpn'") {
		t.Errorf("the configuration is %q", conf)
	}
	for name, text := range map[string]string{"identity.secret": "a1b2c3d4e5:0:public:secret",
		"authtoken.secret": "of this box", "networks.d/" + network + ".conf": "n=1"} {
		if data, err := os.ReadFile(filepath.Join(m.home, name)); err != nil ||
			string(data) != text {
			t.Errorf("%s is %q, %v", name, data, err)
		}
	}
	if kept, err := os.ReadFile(filepath.Join(done.Aside[0], "identity.secret")); err != nil ||
		string(kept) != "ffffffffff:0:p:s" {
		t.Errorf("the old identity was not kept: %q, %v", kept, err)
	}
	for name := range got {
		base := filepath.Base(name)
		if base == "history.db" || base == ".tmp-1" || base == "unrelated.txt" ||
			strings.HasPrefix(base, "pki.replaced") || strings.HasPrefix(base, ".restore") {
			t.Errorf("%s is on the new box", name)
		}
	}
	// Once more it is a box in use.
	if _, err := m.restore(made, false); !errors.Is(err, ErrExists) {
		t.Errorf("a second restore: %v", err)
	}
	if again, err := m.restore(made, true); err != nil || len(again.Aside) != 3 {
		t.Errorf("with --replace: %+v, %v", again, err)
	}
}

// A box is new while its configuration is the package's own, which explains all and sets nothing.
func TestCommentsAreNoConfiguration(t *testing.T) {
	old := newMachine(t)
	old.fill(t)
	made := old.taken(t)
	m := moved(t, old)
	put(t, m.Config, "# zerotier:\n\n  #  networks: []\n", 0o600)
	if _, err := m.restore(made, false); err != nil {
		t.Error(err)
	}
}

// A box is new while nobody has claimed its page, whatever strangers tried on it.
func TestUnclaimedPageIsNew(t *testing.T) {
	old := newMachine(t)
	old.fill(t)
	put(t, filepath.Join(old.State, "page", "accounts.json"), "owner's", 0o600)
	made := old.taken(t)
	m := moved(t, old)
	put(t, filepath.Join(m.State, "page", "claim.json"), "code", 0o600)
	put(t, filepath.Join(m.State, "page", "audit.log"), "wrong code", 0o600)
	if _, err := m.restore(made, false); err != nil {
		t.Fatal(err)
	}
	got := m.tree(t)
	if got["state/page/accounts.json"] != "600 owner's" || got["state/page/claim.json"] != "" {
		t.Errorf("%v", got)
	}
	if _, err := m.restore(made, false); !errors.Is(err, ErrExists) {
		t.Errorf("a page with an owner: %v", err)
	}
}

// Whatever is wrong, nothing changes.
func TestRefusalsChangeNothing(t *testing.T) {
	old := newMachine(t)
	old.fill(t)
	made := old.taken(t)
	archive := func(headers ...*tar.Header) []byte {
		var b bytes.Buffer
		w := tar.NewWriter(&b)
		for _, h := range headers {
			text := strings.TrimPrefix(h.Linkname, "text:")
			if h.Typeflag == 0 {
				h.Typeflag = tar.TypeReg
			}
			if h.Typeflag == tar.TypeReg {
				h.Linkname, h.Size, h.Mode = "", int64(len(text)), 0o600
			}
			if err := w.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			if h.Typeflag == tar.TypeReg {
				if _, err := w.Write([]byte(text)); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		return seal(t, b.Bytes())
	}
	head := &tar.Header{Name: manifestName, Linkname: `text:{"format":1,"version":"1.2.3"}`}
	conf := &tar.Header{Name: "config/ztbridge.yaml",
		Linkname: "text:zerotier: {networks: [" + network + "]}\negress: {w: {wan: {}}}\npolicy: [{egress: [w]}]\n"}
	with := func(name string) []byte {
		h, c := *head, *conf
		return archive(&h, &c, &tar.Header{Name: name, Linkname: "text:evil"})
	}
	dup := func(h *tar.Header) *tar.Header { c := *h; return &c }
	for name, c := range map[string]struct {
		data       []byte
		passphrase string
		prepare    func(machine)
		want       error // nil: any
	}{
		"wrong passphrase": {made, "another passphrase", nil, sealed.ErrPassphrase},
		"empty":            {nil, passphrase, nil, ErrDamaged},
		"no backup":        {[]byte("hello, world\n"), passphrase, nil, ErrDamaged},
		"cut short":        {made[:len(made)-20], passphrase, nil, ErrDamaged},
		"cut in the head":  {made[:100], passphrase, nil, ErrDamaged},
		"a bit flipped":    {flipped(made), passphrase, nil, ErrDamaged},
		"newer": {archive(&tar.Header{Name: manifestName, Linkname: `text:{"format":2,"version":"9"}`},
			dup(conf)), passphrase, nil, ErrNewer},
		"another archive":  {archive(dup(conf)), passphrase, nil, ErrDamaged},
		"no configuration": {archive(dup(head)), passphrase, nil, ErrDamaged},
		"parent":           {with("config/../../evil"), passphrase, nil, ErrDamaged},
		"absolute":         {with("/etc/evil"), passphrase, nil, ErrDamaged},
		"absolute in part": {with("state//etc/evil"), passphrase, nil, ErrDamaged},
		"unknown part":     {with("root/evil"), passphrase, nil, ErrDamaged},
		"the part itself":  {with("state"), passphrase, nil, ErrDamaged},
		"zerotier's token": {with("zerotier/authtoken.secret"), passphrase, nil, ErrDamaged},
		"below system":     {with("system/a/b"), passphrase, nil, ErrDamaged},
		"commit file":      {with("state/" + commitFile), passphrase, nil, ErrDamaged},
		"staging":          {with("config/" + stagingDir + "/x"), passphrase, nil, ErrDamaged},
		"control":          {with("config/a\nb"), passphrase, nil, ErrDamaged},
		"twice":            {with("config/ztbridge.yaml"), passphrase, nil, ErrDamaged},
		"symbolic link": {archive(dup(head), dup(conf), &tar.Header{Name: "config/x",
			Typeflag: tar.TypeSymlink, Linkname: "/etc"}), passphrase, nil, ErrDamaged},
		"hard link": {archive(dup(head), dup(conf), &tar.Header{Name: "config/x",
			Typeflag: tar.TypeLink, Linkname: "config/ztbridge.yaml"}), passphrase, nil, ErrDamaged},
		"device": {archive(dup(head), dup(conf), &tar.Header{Name: "config/x",
			Typeflag: tar.TypeChar}), passphrase, nil, ErrDamaged},
		"file below a file": {archive(dup(head), dup(conf), &tar.Header{Name: "state/a",
			Linkname: "text:"}, &tar.Header{Name: "state/a/b", Linkname: "text:"}), passphrase, nil,
			nil},
		"a configuration there": {made, passphrase, func(m machine) {
			put(t, m.Config, "mine", 0o600)
		}, ErrExists},
		"keys there": {made, passphrase, func(m machine) {
			put(t, filepath.Join(m.State, "pki", "ca.pem"), "mine", 0o600)
		}, ErrExists},
		"a file in the place of a directory": {made, passphrase, func(m machine) {
			put(t, m.State, "a file", 0o600)
		}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t)
			if c.prepare != nil {
				c.prepare(m)
			}
			before := m.tree(t)
			_, err := Restore{Places: m.Places}.Do(context.Background(), bytes.NewReader(c.data),
				c.passphrase)
			switch {
			case err == nil:
				t.Error("restored")
			case c.want != nil && !errors.Is(err, c.want):
				t.Errorf("%v, want %v", err, c.want)
			}
			if diff := cmp.Diff(before, m.tree(t)); diff != "" {
				t.Errorf("changed although it said %v:\n%s", err, diff)
			}
		})
	}
}

func flipped(data []byte) []byte {
	out := bytes.Clone(data)
	out[len(out)-100] ^= 1
	return out
}

// A refused configuration, programs that cannot be stopped: nothing changes either.
func TestCheckAndServicesComeFirst(t *testing.T) {
	old := newMachine(t)
	old.fill(t)
	made := old.taken(t)
	m := moved(t, old)
	before := m.tree(t)
	bad := errors.New("refused")
	_, err := Restore{Places: m.Places, Check: func(string) error { return bad }}.
		Do(context.Background(), bytes.NewReader(made), passphrase)
	if !errors.Is(err, bad) {
		t.Errorf("%v", err)
	}
	s := &services{fail: bad}
	_, err = Restore{Places: m.Places, Services: s}.Do(context.Background(),
		bytes.NewReader(made), passphrase)
	if !errors.Is(err, bad) || s.calls != "stop " {
		t.Errorf("%v after %s", err, s.calls)
	}
	if diff := cmp.Diff(before, m.tree(t)); diff != "" || exists(m.home) {
		t.Errorf("changed:\n%s", diff)
	}
	s = &services{}
	if _, err = (Restore{Places: m.Places, Services: s}).Do(context.Background(),
		bytes.NewReader(made), passphrase); err != nil || s.calls != "stop start " {
		t.Errorf("%v after %s", err, s.calls)
	}
}

type services struct {
	fail  error
	calls string
}

func (s *services) Stop(context.Context) error  { s.calls += "stop "; return s.fail }
func (s *services) Start(context.Context) error { s.calls += "start "; return nil }

// filledMachine returns a box, a backup of it, and the files in that.
func filledMachine(t *testing.T) (machine, []byte, []file) {
	t.Helper()
	m := newMachine(t)
	m.fill(t)
	made := m.taken(t)
	_, all, err := unpack(made, passphrase)
	if err != nil {
		t.Fatal(err)
	}
	return m, made, all
}

// Wherever the power goes, the next call with the same backup leads to the same box.
func TestInterruptedRestoreIsFinished(t *testing.T) {
	old, made, all := filledMachine(t)
	whole := moved(t, old)
	if _, err := whole.restore(made, false); err != nil {
		t.Fatal(err)
	}
	want := whole.tree(t)
	for steps := 0; ; steps++ {
		if err := os.RemoveAll(whole.home); err != nil {
			t.Fatal(err)
		}
		m := newMachine(t)
		c := &commit{ID: idOf(made), state: m.State}
		if err := (Restore{Places: m.Places}).stage(c, all); err != nil {
			t.Fatal(err)
		}
		last := interrupt(t, c, steps)
		if _, err := m.restore(made, false); err != nil {
			t.Fatalf("after %d steps: %v", steps, err)
		}
		if diff := cmp.Diff(want, m.tree(t)); diff != "" {
			t.Errorf("after %d steps another box:\n%s", steps, diff)
		}
		if last {
			if steps < 10 {
				t.Errorf("only %d steps", steps)
			}
			return
		}
	}
}

// A restore that was interrupted is given up when another backup comes: what that one clears away
// is not taken for finished later.
func TestAnotherBackupAfterAnInterruption(t *testing.T) {
	old, made, all := filledMachine(t)
	m := moved(t, old)
	c := &commit{ID: idOf(made), state: m.State}
	if err := (Restore{Places: m.Places}).stage(c, all); err != nil {
		t.Fatal(err)
	}
	interrupt(t, c, 2)
	bad := errors.New("refused")
	other := Restore{Places: m.Places, Replace: true, Check: func(string) error { return bad }}
	if _, err := other.Do(t.Context(), bytes.NewReader(old.taken(t)), passphrase); !errors.Is(err,
		bad) {
		t.Fatal(err)
	}
	if _, err := m.restore(made, true); err != nil {
		t.Fatal(err)
	}
	if got := m.tree(t); got["state/pki/ca.pem"] != "600 authority" ||
		!strings.HasPrefix(got["etc/ztbridge.yaml"], "640 # mine\n") {
		t.Errorf("half a box: %v", got)
	}
}

// interrupt carries out so many steps of a commit, and reports whether there are no more.
func interrupt(t *testing.T, c *commit, steps int) bool {
	t.Helper()
	if steps == 0 {
		return false // the commit file is not written yet
	}
	if err := c.begin(); err != nil {
		t.Fatal(err)
	}
	for _, r := range c.Roots {
		staging := filepath.Join(r.Dir, stagingDir)
		entries, err := os.ReadDir(staging)
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range entries {
			if steps--; steps == 0 {
				return false
			}
			final := e.Name()
			if other, ok := r.Names[final]; ok {
				final = other
			}
			if err := os.Rename(filepath.Join(staging, e.Name()),
				filepath.Join(r.Dir, final)); err != nil {
				t.Fatal(err)
			}
		}
	}
	return true
}
