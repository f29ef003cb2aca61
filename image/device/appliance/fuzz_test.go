package appliance

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// FuzzMetadata: whatever a service answers, which need not be a cloud's, the setup ends without a
// panic, and writes below its own folders alone.
func FuzzMetadata(f *testing.F) {
	f.Add([]byte(`{"metadata":{"user_data":"I2Nsb3VkLWNvbmZpZwo=","ssh_authorized_keys":"k"}}`))
	f.Add([]byte(`{"metadata":{"user_data":"%"}}`))
	f.Add([]byte(`[`))
	f.Fuzz(func(t *testing.T, answer []byte) {
		w := newWorld(t)
		w.InCloud = true
		before := entries(t, filepath.Dir(w.EtcDir))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		asked := false
		service := roundTripper(func(r *http.Request) (*http.Response, error) {
			if asked { // the answer was not understood: nothing new follows
				cancel()
				return nil, ctx.Err()
			}
			asked = true
			return &http.Response{StatusCode: http.StatusOK, Request: r,
				Body: io.NopCloser(bytes.NewReader(answer))}, nil
		})
		_ = w.TakeMetadata(ctx, Metadata{Address: "http://metadata.example/",
			Client: &http.Client{Transport: service}, Every: time.Nanosecond})
		stayed(t, w, before)
	})
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// FuzzUserData: names and contents of files are a stranger's; each is written to the
// configuration's folder or nowhere.
func FuzzUserData(f *testing.F) {
	f.Add([]byte("#cloud-config\nwrite_files: [{path: /etc/ztbridge/ztbridge.yaml, content: x}]\n"))
	f.Add([]byte("#cloud-config\nwrite_files: [{path: /etc/ztbridge/../passwd, content: x}]\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		w := newWorld(t)
		before := entries(t, filepath.Dir(w.EtcDir))
		_, _ = w.takeUserData(t.Context(), text)
		stayed(t, w, before)
	})
}

// FuzzFindFiles: whatever the names on the FAT partition are, what is found lies on it.
func FuzzFindFiles(f *testing.F) {
	f.Add("ztbridge.yaml", "Provider.OVPN")
	f.Add("._ztbridge.yaml", "con")
	f.Fuzz(func(t *testing.T, first, second string) {
		w := newWorld(t)
		for _, name := range []string{first, second} {
			if name != filepath.Base(name) || !fs.ValidPath(name) {
				t.Skip()
			}
			if err := os.WriteFile(filepath.Join(w.ConfigDir, name), nil, 0o600); err != nil {
				t.Skip()
			}
		}
		files, err := w.findFiles()
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			if filepath.Dir(file.path) != w.ConfigDir || strings.Contains(file.name, "/") {
				t.Errorf("found %+v", file)
			}
		}
	})
}

// entries are the names beside the folders of a world.
func entries(t *testing.T, dir string) string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	names := make([]string, 0, len(list))
	for _, e := range list {
		names = append(names, e.Name())
	}
	return fmt.Sprint(names)
}

// stayed fails when something was written beside a world's own folders.
func stayed(t *testing.T, w *world, before string) {
	t.Helper()
	after := entries(t, filepath.Dir(w.EtcDir))
	for _, own := range []string{"data", "state", "etc", "run", "fat"} {
		before, after = strings.Replace(before, own, "", 1), strings.Replace(after, own, "", 1)
	}
	if strings.Join(strings.Fields(before), "") != strings.Join(strings.Fields(after), "") {
		t.Errorf("written outside: before %s, after %s", before, after)
	}
}
