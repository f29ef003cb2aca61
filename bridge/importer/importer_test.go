package importer

import (
	"archive/zip"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/openvpn/ovpntest"
)

// daemon is one whose tunnel does as a test says.
type daemon struct {
	state   string // of the egress after a reload
	reload  error
	passes  uint64
	reloads int
	path    string
	stopped bool
}

func (d *daemon) Status(ctx context.Context) (api.Status, error) {
	if d.stopped {
		return api.Status{}, api.ErrNotRunning
	}
	if err := ctx.Err(); err != nil {
		return api.Status{}, err
	}
	d.passes++
	return api.Status{Config: d.path, Reconcile: api.Reconcile{Passes: d.passes},
		Egresses: []api.Egress{{Name: "provider", State: d.state, Remote: "udp 203.0.113.5:1194"},
			{Name: "extra", State: d.state}},
		Conditions: []api.Condition{{Subject: "provider", Message: "the server said no",
			Remedy: "ask it again"}}}, nil
}

func (d *daemon) Reload(context.Context) error {
	d.reloads++
	if d.reloads > 1 {
		return nil // of the old configuration
	}
	return d.reload
}

const before = `# my box
zerotier: {networks: [abcdef0123000001]}
egress:
  provider: # the old one
    openvpn:
      profile: old.ovpn # from March
      credentials: old.auth
policy:
  - {from: [zerotier], egress: [provider]} # all of them
`

// newBox makes a configuration with its files, and returns its path and a good profile.
func newBox(t *testing.T) (path, profile string) {
	t.Helper()
	dir := t.TempDir()
	pki := ovpntest.NewPKI(t)
	profile = "client\ndev tun\nproto udp\nremote 203.0.113.9 1194\nauth-user-pass\n<ca>\n" +
		pki.CA.PEM + "</ca>\n"
	path = filepath.Join(dir, "ztbridge.yaml")
	write(t, path, before)
	write(t, filepath.Join(dir, "old.ovpn"), profile)
	write(t, filepath.Join(dir, "old.auth"), "alice\nold secret\n")
	return path, profile
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// tree is all that is below a directory, with its content and mode.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if d.IsDir() || err != nil {
			out[name+"/"] = info.Mode().String()
			return err
		}
		data, err := os.ReadFile(path)
		out[name] = info.Mode().String() + " " + string(data)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func same(a, b map[string]string) bool { return fmt.Sprint(a) == fmt.Sprint(b) }

func login(user, password string) *config.Credentials {
	return &config.Credentials{Username: config.NewSecret(user),
		Password: config.NewSecret(password)}
}

func TestReplace(t *testing.T) {
	for _, tt := range []struct {
		name  string
		login *config.Credentials
		drop  string // of the profile
		want  string // its part of the configuration
	}{
		{"new credentials", login("bob", "new secret"), "",
			"profile: profiles/X/new.ovpn # from March\n      credentials: profiles/X/login.auth\n"},
		{"those of before", nil, "",
			"profile: profiles/X/new.ovpn # from March\n      credentials: old.auth\n"},
		{"none needed", nil, "auth-user-pass\n", "profile: profiles/X/new.ovpn # from March\npolicy"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path, profile := newBox(t)
			etc := filepath.Dir(path)
			file := filepath.Join(t.TempDir(), "new.ovpn")
			profile = strings.Replace(profile, "203.0.113.9", "203.0.113.77", 1)
			if tt.drop != "" {
				pki := ovpntest.NewPKI(t)
				profile = strings.Replace(profile, tt.drop, "", 1) + "<cert>\n" +
					pki.Client.PEM + "</cert>\n<key>\n" + pki.Client.Key + "</key>\n"
			}
			write(t, file, profile)
			for range 2 { // the second time, the first import is no longer named
				i := &Import{ConfigPath: path, Daemon: &daemon{state: "up", path: path},
					Name: "provider", Replace: true, File: file, Credentials: tt.login}
				e, err := i.Run(t.Context())
				if err != nil || e.Remote != "udp 203.0.113.5:1194" {
					t.Fatal(e, err)
				}
			}
			dirs, err := filepath.Glob(filepath.Join(etc, Dir, "provider-*"))
			if err != nil || len(dirs) != 1 {
				t.Fatal(dirs, err)
			}
			now := tree(t, etc)
			text := strings.ReplaceAll(now["ztbridge.yaml"], filepath.Base(dirs[0]), "X")
			if !strings.Contains(text, tt.want) || !strings.Contains(text, "# all of them") {
				t.Errorf("the configuration:\n%s", text)
			}
			at := Dir + "/" + filepath.Base(dirs[0])
			if now[at+"/new.ovpn"] != "-rw------- "+profile || now[at+"/"] != "drwx------" {
				t.Errorf("the profile: %.60q, %s", now[at+"/new.ovpn"], now[at+"/"])
			}
			if got := now[at+"/login.auth"]; tt.login != nil &&
				got != "-rw------- bob\nnew secret\n" || tt.login == nil && got != "" {
				t.Errorf("the credentials: %q", got)
			}
		})
	}
}

func TestAdd(t *testing.T) {
	path, profile := newBox(t)
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	for _, name := range []string{"nl-1.ovpn", "nl-2.ovpn", "de-1.ovpn"} {
		f, err := w.Create(name)
		if err == nil {
			_, err = f.Write([]byte(profile))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "all of them.zip")
	write(t, file, archive.String())
	i := &Import{ConfigPath: path, Daemon: &daemon{state: "up"}, Name: "extra", File: file,
		Pick: []string{"nl-*"}, Credentials: login("bob", "pw"), Rules: []int{1}}
	if _, err := i.Run(t.Context()); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := config.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	e := cfg.Egresses[1]
	if e.Name != "extra" || !e.OpenVPN.Collection || len(e.OpenVPN.Pick) != 1 ||
		filepath.Base(e.OpenVPN.Profile) != "all_of_them.zip" ||
		strings.Join(cfg.Policy[0].Egress, " ") != "provider extra" {
		t.Errorf("%+v, %+v", e.OpenVPN, cfg.Policy)
	}
}

// TestRefusalsLeaveAllAsItWas asks for everything that cannot be done.
func TestRefusalsLeaveAllAsItWas(t *testing.T) {
	hostile := func(line string) func(string) string {
		return func(p string) string { return p + line + "\n" }
	}
	for _, tt := range []struct {
		name    string
		daemon  daemon
		profile func(string) string
		edit    func(*Import)
		want    string // part of the error
		undone  bool
	}{
		{name: "a patched OpenVPN", profile: hostile("scramble obfuscate x"), want: "new.ovpn:18: scramble"},
		{name: "a web page", profile: func(string) string { return "<html>log in</html>" },
			want: "a web page"},
		{name: "no credentials", edit: func(i *Import) { i.Replace, i.Name = false, "extra" },
			want: "needs a user name and password"},
		{name: "no such egress", edit: func(i *Import) {
			i.Name, i.Credentials = "nobody", login("a", "b")
		}, want: "nobody"},
		{name: "there already", edit: func(i *Import) {
			i.Replace, i.Credentials = false, login("a", "b")
		}, want: "duplicate"},
		{name: "a bad name", edit: func(i *Import) {
			i.Replace, i.Name, i.Credentials = false, "../x", login("a", "b")
		}, want: "not a good name"},
		{name: "a name that means something", edit: func(i *Import) {
			i.Replace, i.Name, i.Credentials = false, "block", login("a", "b")
		}, want: "choose another name"},
		{name: "another configuration", daemon: daemon{path: "/elsewhere.yaml"},
			want: "the daemon reads /elsewhere.yaml"},
		{name: "refused by the daemon", daemon: daemon{reload: errors.New("not this")},
			want: "not this", undone: true},
		{name: "wrong password", daemon: daemon{state: "auth-failed"},
			want: "the server said no", undone: true},
		{name: "no answer", daemon: daemon{state: "connecting"},
			edit: func(i *Import) { i.Wait = 300 * time.Millisecond },
			want: "did not come up", undone: true},
		{name: "a folder", edit: func(i *Import) { i.File = filepath.Dir(i.File) },
			want: "not a file"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path, profile := newBox(t)
			was := tree(t, filepath.Dir(path))
			if tt.profile != nil {
				profile = tt.profile(profile)
			}
			file := filepath.Join(t.TempDir(), "new.ovpn")
			write(t, file, profile)
			i := &Import{ConfigPath: path, Daemon: &tt.daemon, Name: "provider", Replace: true,
				File: file}
			if tt.edit != nil {
				tt.edit(i)
			}
			_, err := i.Run(t.Context())
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("refused with: %v", err)
			}
			if now := tree(t, filepath.Dir(path)); !same(was, now) {
				t.Errorf("before: %v\nafter: %v", was, now)
			}
			if undone := tt.daemon.reloads == 2; undone != tt.undone {
				t.Errorf("%d reloads", tt.daemon.reloads)
			}
		})
	}
}

// TestEndWhileWaiting: whoever ends the command while the tunnel comes up has the old one back.
func TestEndWhileWaiting(t *testing.T) {
	path, profile := newBox(t)
	was := tree(t, filepath.Dir(path))
	file := filepath.Join(t.TempDir(), "new.ovpn")
	write(t, file, profile)
	ctx, cancel := context.WithCancel(t.Context())
	d := &daemon{state: "connecting"}
	i := &Import{ConfigPath: path, Daemon: d, Name: "provider", Replace: true, File: file,
		Progress: func(text string) {
			if strings.Contains(text, "is connecting") {
				cancel()
			}
		}}
	if _, err := i.Run(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
	if now := tree(t, filepath.Dir(path)); !same(was, now) || d.reloads != 2 {
		t.Errorf("after %d reloads: %v", d.reloads, now)
	}
}

// TestEditedMeanwhile: what a person writes while an import runs is not lost.
func TestEditedMeanwhile(t *testing.T) {
	for _, step := range []string{"check", "undo"} {
		path, profile := newBox(t)
		file := filepath.Join(t.TempDir(), "new.ovpn")
		write(t, file, profile)
		i := &Import{ConfigPath: path, Daemon: &daemon{state: "auth-failed"}, Name: "provider",
			Replace: true, File: file, step: func(at string) {
				if at == step {
					write(t, path, "# mine\n"+before)
				}
			}}
		if _, err := i.Run(t.Context()); !errors.Is(err, errMoved) {
			t.Errorf("%s: %v", step, err)
		}
		if got, err := os.ReadFile(path); err != nil || string(got) != "# mine\n"+before {
			t.Errorf("%s: %v\n%s", step, err, got)
		}
	}
}

const killVariable = "IMPORTER_TEST_KILL"

// TestKilledAtEachStep kills an import at each step: the configuration is the old one or the new
// one, with all its files, and the next import leaves nothing of it.
func TestKilledAtEachStep(t *testing.T) {
	if step := os.Getenv(killVariable); step != "" {
		killed(t, step)
		return
	}
	for step, old := range map[string]bool{"stage": true, "files": true, "file": true,
		"check": true, "exchange": true, "reload": false, "clean": false} {
		path, profile := newBox(t)
		etc := filepath.Dir(path)
		file := filepath.Join(t.TempDir(), "new.ovpn")
		write(t, file, profile)
		cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^TestKilledAtEachStep$")
		cmd.Env = append(os.Environ(), killVariable+"="+step, "IMPORTER_TEST_CONFIG="+path,
			"IMPORTER_TEST_FILE="+file)
		out, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
			t.Fatalf("%s: %v\n%s", step, err, out)
		}
		text, err := os.ReadFile(path)
		if err != nil || (string(text) == before) != old {
			t.Errorf("%s: %v\n%s", step, err, text)
		}
		if _, _, err := config.Load(path, nil); err != nil {
			t.Errorf("%s: %v", step, err)
		}
		i := &Import{ConfigPath: path, Daemon: &daemon{stopped: true}, Name: "provider",
			Replace: true, File: file}
		if _, err := i.Run(t.Context()); err != nil {
			t.Errorf("%s, the next import: %v", step, err)
		}
		if all, err := filepath.Glob(filepath.Join(etc, Dir, "*")); err != nil || len(all) != 1 {
			t.Errorf("%s: left are %v, %v", step, all, err)
		}
	}
}

func killed(t *testing.T, step string) {
	i := &Import{ConfigPath: os.Getenv("IMPORTER_TEST_CONFIG"), Daemon: &daemon{state: "up"},
		Name: "provider", Replace: true, File: os.Getenv("IMPORTER_TEST_FILE"),
		step: func(at string) {
			if at == step {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			}
		}}
	_, err := i.Run(t.Context())
	t.Fatal("not killed", err)
}

func TestCleanName(t *testing.T) {
	for name, want := range map[string]string{
		"nl 1 (fast).ovpn": "nl_1__fast_.ovpn", "../../etc/passwd": "_.._etc_passwd", "": "provider.ovpn",
		"..": "provider.ovpn", "-x.ovpn": "x.ovpn", "login.auth": "provider.ovpn",
		strings.Repeat("a", 100) + ".zip": strings.Repeat("a", 76) + ".zip", "é.ovpn": "_.ovpn",
	} {
		if got := CleanName(name); got != want {
			t.Errorf("%q becomes %q, want %q", name, got, want)
		}
	}
}
