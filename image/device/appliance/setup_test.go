package appliance

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"ztbridge/image/device/box"
	"ztbridge/image/device/grubenv"
)

// world is a box made of folders, whose tools and mounts are recorded and can be made to fail.
type world struct {
	*Setup
	console strings.Builder
	calls   []string
	fail    map[string]error // by the tool's name or "mount TARGET"
	remarks string           // of the daemon's on a good configuration
	ro      bool             // the configuration partition, as the mounts left it
}

const hostKey = "-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA\n-----END OPENSSH PRIVATE KEY-----\n"

func newWorld(t *testing.T) *world {
	t.Helper()
	root := t.TempDir()
	w := &world{fail: map[string]error{}, ro: true}
	w.Setup = &Setup{
		RunDir: filepath.Join(root, "run"), ConfigDir: filepath.Join(root,
			"fat"), DataDir: filepath.Join(root, "data"), EtcDir: filepath.Join(root, "etc"),
		Binds: []bind{{"state", filepath.Join(root, "state"), 0o700}},
		Run: func(_ context.Context, name string, args ...string) error {
			w.calls = append(w.calls, name)
			if filepath.Base(name) == "ssh-keygen" && w.fail["ssh-keygen"] == nil {
				return os.WriteFile(args[len(args)-1], []byte(hostKey), 0o600)
			}
			return w.fail[filepath.Base(name)]
		},
		Notice: filepath.Join(root, "run", "notice"),
		Check: func(context.Context, string) (string, error) {
			w.calls = append(w.calls, "check")
			return w.remarks, w.fail["check"]
		},
		ClaimFile: filepath.Join(root, "claim"), Code: w.pageCode,
		Grow: func(string) error { return w.fail["grow"] },
		Mount: func(_, target, fstype string, flags uintptr, _ string) error {
			if flags&unix.MS_REMOUNT != 0 {
				w.ro = flags&unix.MS_RDONLY != 0
			}
			return w.fail["mount "+filepath.Base(target)+fstype]
		},
		Console: func(m string) { w.console.WriteString(m) },
		Log:     slog.New(slog.DiscardHandler),
	}
	for _, dir := range []string{w.RunDir, filepath.Join(w.ConfigDir, "grub"), w.EtcDir} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	env, err := grubenv.Block{grubenv.Active: "A", grubenv.Data: "0"}.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	w.put(t, box.GrubEnv, string(env))
	return w
}

// pageCode is `ztbridge page code`.
func (w *world) pageCode(_ context.Context, flags ...string) (string, error) {
	w.calls = append(w.calls, strings.Join(append([]string{"code"}, flags...), " "))
	switch {
	case w.fail["code"] != nil:
		return "", w.fail["code"]
	case slices.Contains(flags, "--withdraw"):
		return "", os.Remove(w.ClaimFile)
	case slices.Contains(flags, "--open"):
		return pageCodeText, os.WriteFile(w.ClaimFile, nil, 0o600)
	}
	return pageCodeText, nil
}

const pageCodeText = "abcde-23456"

func (w *world) put(t *testing.T, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(w.ConfigDir, name), []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

func (w *world) called(tool string) bool {
	for _, c := range w.calls {
		if filepath.Base(c) == tool {
			return true
		}
	}
	return false
}

func read(t *testing.T, elem ...string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(elem...))
	if errors.Is(err, os.ErrNotExist) {
		return "(absent)"
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestFirstStartTakesOverAndWipes(t *testing.T) {
	w := newWorld(t)
	w.put(t, "ZTBRIDGE.YAML", "egress: {}")
	w.put(t, "Provider.ovpn", "remote example.org")
	w.put(t, "._Provider.ovpn", "junk of a Mac")
	w.put(t, "authorized_keys", "ssh-ed25519 AAAA")
	if err := w.Perform(context.Background()); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"ztbridge.yaml": "egress: {}",
		"Provider.ovpn": "remote example.org", "._Provider.ovpn": "(absent)"} {
		if got := read(t, w.EtcDir, name); got != want {
			t.Errorf("%s in its place is %q, want %q", name, got, want)
		}
	}
	if info, err := os.Stat(filepath.Join(w.EtcDir, "Provider.ovpn")); err != nil ||
		info.Mode().Perm() != 0o600 {
		t.Errorf("the profile's mode: %v, %v; want 0600", info.Mode(), err)
	}
	for _, name := range []string{"ZTBRIDGE.YAML", "Provider.ovpn", "authorized_keys", errorFile} {
		if got := read(t, w.ConfigDir, name); got != "(absent)" {
			t.Errorf("%s is still on the boot partition", name)
		}
	}
	if read(t, w.DataDir, "system/authorized_keys") != "ssh-ed25519 AAAA" ||
		read(t, w.DataDir, "system/ssh_host_ed25519_key") != hostKey {
		t.Error("the key that may log in, or the host key, is missing")
	}
	if env, err := grubenv.Load(filepath.Join(w.ConfigDir, box.GrubEnv)); err != nil ||
		env[grubenv.Data] != "1" {
		t.Errorf("boot variables %v, %v: the next start would make the data partition again", env,
			err)
	}
	if !w.ro {
		t.Error("the boot partition was left writable")
	}
}

func TestBadConfigurationChangesNothing(t *testing.T) {
	w := newWorld(t)
	if err := os.WriteFile(filepath.Join(w.EtcDir, "ztbridge.yaml"), []byte("old"),
		0o600); err != nil {
		t.Fatal(err)
	}
	w.put(t, "ztbridge.yaml", "egres: {}")
	w.put(t, "provider.ovpn", "remote example.org")
	w.put(t, "authorized_keys", "ssh-ed25519 AAAA")
	w.fail["check"] = fmt.Errorf(
		"exit status 1: error: %s/incoming/ztbridge.yaml:1: unknown key egres", w.DataDir)
	if err := w.Perform(context.Background()); err == nil {
		t.Fatal("a bad configuration was no problem")
	}
	if got := read(t, w.EtcDir, "ztbridge.yaml"); got != "old" {
		t.Errorf("the configuration in use is now %q", got)
	}
	if read(t, w.EtcDir, "provider.ovpn") != "(absent)" ||
		read(t, w.ConfigDir, "provider.ovpn") == "(absent)" {
		t.Error("a profile was taken over, or lost, although the configuration was refused")
	}
	message := read(t, w.ConfigDir, errorFile)
	if !strings.Contains(message, "error: ztbridge.yaml:1: unknown key egres") ||
		!strings.Contains(message, "hint:") {
		t.Errorf("the error file does not say what is wrong and what to do:\n%s", message)
	}
	if !strings.Contains(w.console.String(), "unknown key egres") {
		t.Error("the console does not show the error")
	}
	if read(t, w.DataDir, "system/authorized_keys") != "ssh-ed25519 AAAA" {
		t.Error("the box cannot be reached: the SSH key was not taken over")
	}

	delete(w.fail, "check")
	if err := w.Perform(context.Background()); err != nil {
		t.Fatal(err)
	}
	if read(t, w.ConfigDir, errorFile) != "(absent)" ||
		read(t, w.EtcDir, "ztbridge.yaml") != "egres: {}" {
		t.Error("after the mistake was mended, the error stays or the configuration is not in use")
	}
}

func TestNoConfigurationIsSaid(t *testing.T) {
	w := newWorld(t)
	w.put(t, "ztbridge.yml", "") // for a hint
	if err := w.Perform(context.Background()); !errors.Is(err, errNoConfig) ||
		!MerelyUnconfigured(err) {
		t.Fatalf("error = %v", err)
	}
	if !strings.Contains(read(t, w.ConfigDir, errorFile), "ztbridge.yaml.example") {
		t.Error("the error file does not say where to begin")
	}
	if MerelyUnconfigured(errors.Join(errors.Join(errNoConfig, nil),
		errors.New("the key is not in place"))) {
		t.Error("another problem went unnoticed")
	}
}

// The data file system is made once. Whatever happens to it later, it is never made again.
func TestDataPartition(t *testing.T) {
	tests := []struct {
		name     string
		made     string // the boot variable
		fail     map[string]error
		wantMkfs bool
		wantErr  error
	}{
		{"first start", "0", nil, true, nil},
		{"later start", "1", nil, false, nil},
		{"mkfs interrupted by the power: again", "0", nil, true, nil},
		{"damaged beyond repair: kept", "1",
			map[string]error{"mount dataext4": errors.New("bad superblock")}, false, errDataLost},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			env := grubenv.Block{grubenv.Active: "A", grubenv.Data: tt.made}
			if err := env.Save(filepath.Join(w.ConfigDir, box.GrubEnv)); err != nil {
				t.Fatal(err)
			}
			maps.Copy(w.fail, tt.fail)
			w.put(t, "ztbridge.yaml", "x")
			err := w.Perform(context.Background())
			if !errors.Is(err, tt.wantErr) {
				t.Errorf("error = %v, want %v", err, tt.wantErr)
			}
			if got := w.called("mkfs.ext4"); got != tt.wantMkfs {
				t.Errorf("mkfs called: %v", got)
			}
			if tt.wantErr != nil && read(t, w.ConfigDir, "ztbridge.yaml") != "x" {
				t.Error("the user's file is gone although there was nowhere to put it")
			}
		})
	}
}

// When the copy cannot be made, the originals stay: the user's only copy of a profile may be the
// one on the card.
func TestFullDataPartitionKeepsTheOriginals(t *testing.T) {
	w := newWorld(t)
	w.put(t, "ztbridge.yaml", "x")
	w.put(t, "provider.ovpn", strings.Repeat("x", maxFile+1))
	if err := w.Perform(context.Background()); err == nil {
		t.Fatal("no error")
	}
	if read(t, w.ConfigDir, "ztbridge.yaml") != "x" ||
		read(t, w.EtcDir, "ztbridge.yaml") != "(absent)" {
		t.Error("files were taken over in part")
	}
}

// What was written of a file until the disk was full does not stay and keep it full.
func TestReplaceOnAFullDisk(t *testing.T) {
	dir := t.TempDir()
	err := replace(filepath.Join(dir, "provider.ovpn"), func(fresh string) error {
		return errors.Join(writeSync(fresh, []byte("half")), unix.ENOSPC)
	})
	left, readErr := os.ReadDir(dir)
	if !errors.Is(err, unix.ENOSPC) || readErr != nil || len(left) != 0 {
		t.Errorf("%v; %v are left, %v", err, left, readErr)
	}
}

func TestReporterShowsChangesOnly(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	answers := []string{"", "up, 1.5 MB since 3 s", "up, 2.5 MB since 4 s", "degraded", "", "", ""}
	var console bytes.Buffer
	var told []string
	r := &Reporter{Every: 1, Impatience: 1,
		Console:  func(m string) { fmt.Fprintln(&console, strings.SplitN(m, " s after", 2)[0]) },
		Problems: func(context.Context) (string, error) { return "error: no daemon", nil },
		Tell:     func(problems string) error { told = append(told, problems); return nil },
		Status: func(context.Context) (string, error) {
			if len(answers) == 0 {
				cancel()
				return "", errors.New("no daemon")
			}
			answer := answers[0]
			answers = answers[1:]
			if answer == "" {
				return "", errors.New("no daemon")
			}
			return answer, nil
		}}
	if err := r.Run(ctx); err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(console.String()), "\n")
	if len(lines) != 4 || !strings.HasPrefix(lines[0], "daemon up") ||
		lines[1] != "up, 1.5 MB since 3 s" || lines[2] != "degraded" ||
		!strings.HasPrefix(lines[3], "daemon down") {
		t.Errorf("the console shows:\n%s", console.String())
	}
	if len(told) != 1 || told[0] != "error: no daemon" {
		t.Errorf("told on the boot partition: %q", told)
	}
}
