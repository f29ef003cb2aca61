package appliance

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ztbridge/image/device/cloudconfig"
)

// oracle is a metadata service on loopback. Its first answers are errors, as while a real one is
// being changed.
func oracle(t *testing.T, metadata map[string]any, failures int) Metadata {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case r.Header.Get("Authorization") != "Bearer Oracle":
			w.WriteHeader(http.StatusForbidden)
		case r.URL.Path != "/opc/v2/instance/" || failures > 0:
			failures--
			w.WriteHeader(http.StatusNotFound)
		default:
			_ = json.NewEncoder(w).Encode(map[string]any{"id": "ocid1.instance", "hostname": "box",
				"metadata": metadata})
		}
	}))
	t.Cleanup(server.Close)
	return Metadata{Address: server.URL + "/opc/v2/instance/", Client: server.Client(),
		Every: time.Millisecond}
}

func userData(t *testing.T, files map[string]string) []byte {
	t.Helper()
	config := cloudconfig.Config{RunCmd: [][]string{{"/usr/local/sbin/ztbridge-install"}},
		Files: []cloudconfig.File{{Path: "/usr/local/sbin/ztbridge-install",
			Content: "#!/bin/sh\n"}}}
	for name, content := range files {
		config.Files = append(config.Files,
			cloudconfig.File{Path: cloudconfig.Folder + "/" + name, Content: content})
	}
	text, err := config.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// newMachine is a box that has started in the cloud, with nothing on its FAT partition.
func newMachine(t *testing.T) *world {
	t.Helper()
	w := newWorld(t)
	w.InCloud = true
	if err := w.Perform(context.Background()); err != nil {
		t.Fatalf("a box that will be told its configuration complains about having none: %v", err)
	}
	return w
}

func TestMetadataConfiguresTheBox(t *testing.T) {
	w := newMachine(t)
	service := oracle(t, map[string]any{"ssh_authorized_keys": "ssh-ed25519 AAAA\n",
		"user_data": userData(t, map[string]string{"ztbridge.yaml": "egress: {}",
			"provider.ovpn": "remote example.org"})}, 2)
	if err := w.TakeMetadata(context.Background(), service); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{"ztbridge.yaml": "egress: {}",
		"provider.ovpn": "remote example.org", "ztbridge-install": "(absent)"} {
		if got := read(t, w.EtcDir, name); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
	if info, err := os.Stat(filepath.Join(w.EtcDir, "provider.ovpn")); err != nil ||
		info.Mode().Perm() != 0o600 {
		t.Errorf("the profile's mode: %v, %v; want 0600", info.Mode(), err)
	}
	if read(t, w.DataDir, "system/authorized_keys") != "ssh-ed25519 AAAA\n" ||
		read(t, w.DataDir, "system/ssh_host_ed25519_key") != hostKey {
		t.Error("the key that may log in, or the host key, is missing")
	}
}

// Who was let in by a file on the card is not shut out by the cloud, nor joined by others.
func TestMetadataLeavesGivenKeysAlone(t *testing.T) {
	w := newWorld(t)
	w.InCloud = true
	w.put(t, "authorized_keys", "ssh-ed25519 MINE")
	if err := w.Perform(context.Background()); err != nil {
		t.Fatal(err)
	}
	service := oracle(t, map[string]any{"ssh_authorized_keys": "ssh-ed25519 THEIRS",
		"user_data": userData(t, map[string]string{"ztbridge.yaml": "x"})}, 0)
	if err := w.TakeMetadata(context.Background(), service); err != nil {
		t.Fatal(err)
	}
	if got := read(t, w.DataDir, "system/authorized_keys"); got != "ssh-ed25519 MINE" {
		t.Errorf("who may log in is now %q", got)
	}
}

// Whatever is wrong with it: nothing is taken over, it is said where people look, and the box can
// be reached.
func TestBadMetadata(t *testing.T) {
	good := map[string]string{"ztbridge.yaml": "egres: {}"}
	tests := []struct {
		name     string
		userData any
		refused  bool // by the daemon
		want     string
	}{
		{"none", nil, false, "created without user-data"},
		{"a script", []byte("#!/bin/sh\n"), false, "not in cloud-config format"},
		{"no configuration in it", userData(t, map[string]string{"a.ovpn": "x"}), false,
			"has no ztbridge.yaml"},
		{"a mistake in the configuration", userData(t, good), true, "unknown key egres"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := newMachine(t)
			metadata := map[string]any{"ssh_authorized_keys": "ssh-ed25519 AAAA"}
			if tt.userData != nil {
				metadata["user_data"] = tt.userData
			}
			if tt.refused {
				w.fail["check"] = errors.New("error: " + w.DataDir +
					"/incoming/ztbridge.yaml:1: unknown key egres")
			}
			if err := w.TakeMetadata(context.Background(), oracle(t, metadata, 0)); err == nil {
				t.Error("no error")
			}
			for where, text := range map[string]string{"the FAT partition": read(t, w.ConfigDir,
				errorFile), "the console": w.console.String()} {
				if !strings.Contains(text, tt.want) || !strings.Contains(text, "hint: ") ||
					strings.Contains(text, w.DataDir) {
					t.Errorf("%s says: %s", where, text)
				}
			}
			if entries, err := os.ReadDir(w.EtcDir); err != nil || len(entries) > 0 {
				t.Errorf("taken over: %v, %v", entries, err)
			}
			if read(t, w.DataDir, "system/authorized_keys") == "(absent)" {
				t.Error("the box cannot be reached")
			}
		})
	}
}

// What keeps an owner from SSH is told in a cloud too, and repaired when it can be.
func TestCloudTellsOfMissingHostKey(t *testing.T) {
	w := newWorld(t)
	w.InCloud = true
	w.put(t, "authorized_keys", "ssh-ed25519 MINE")
	w.fail["ssh-keygen"] = errors.New("no entropy")
	if err := w.Perform(context.Background()); err == nil ||
		!strings.Contains(read(t, w.ConfigDir, errorFile), "no entropy") {
		t.Errorf("not told: %v: %s", err, read(t, w.ConfigDir, errorFile))
	}
	delete(w.fail, "ssh-keygen")
	service := oracle(t, map[string]any{"ssh_authorized_keys": "ssh-ed25519 THEIRS",
		"user_data": userData(t, map[string]string{"ztbridge.yaml": "x"})}, 0)
	if err := w.TakeMetadata(context.Background(), service); err != nil {
		t.Fatal(err)
	}
	if read(t, w.DataDir, "system/ssh_host_ed25519_key") != hostKey {
		t.Error("there is still no host key")
	}
}

func TestMetadataServiceThatIsAway(t *testing.T) {
	w := newMachine(t)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	err := w.TakeMetadata(ctx, oracle(t, nil, 1<<30))
	if err == nil || !strings.Contains(read(t, w.ConfigDir, errorFile), "404") {
		t.Errorf("error %v, file %q", err, read(t, w.ConfigDir, errorFile))
	}
}
