package appliance

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
)

// Whatever the configuration calls its files: they are taken over under the name that it uses, and
// wiped.
func TestNamedFilesAreTakenOver(t *testing.T) {
	w := newWorld(t)
	w.Named = func(file string) []string {
		dir := filepath.Dir(file)
		return []string{filepath.Join(dir, "login.txt"), filepath.Join(dir, "config.txt"),
			"/elsewhere/other.txt"}
	}
	for name, text := range map[string]string{
		"ZTBRIDGE.YAML": "egress: {}", "LOGIN.TXT": "user\nhunter2\n",
		"config.txt": "of the firmware", "other.txt": "a letter",
	} {
		w.put(t, name, text)
	}
	if err := w.Perform(context.Background()); err != nil {
		t.Fatal(err)
	}
	if read(t, w.EtcDir, "login.txt") != "user\nhunter2\n" ||
		read(t, w.ConfigDir, "LOGIN.TXT") != "(absent)" {
		t.Error(
			"the credentials were not taken over, or their secret is still on the boot partition")
	}
	for _, name := range []string{"config.txt", "other.txt"} {
		if read(t, w.ConfigDir, name) == "(absent)" || read(t, w.EtcDir, name) != "(absent)" {
			t.Errorf("%s was taken away", name)
		}
	}
}

func TestNearMissesAreHintedAt(t *testing.T) {
	for _, name := range []string{"ztbridge.yaml.txt", "ztbridge.yml"} {
		w := newWorld(t)
		w.put(t, name, "egress: {}")
		err := w.Perform(context.Background())
		if !errors.Is(err, errNoConfig) || !strings.Contains(read(t, w.ConfigDir, errorFile),
			"if "+name+" is meant to be ztbridge.yaml, rename it") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
