package profile

import (
	"archive/zip"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"
)

// writeZip makes an archive of files, in the order given.
func writeZip(t *testing.T, files ...[2]string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	for _, f := range files {
		entry, err := w.Create(f[0])
		if err == nil {
			_, err = entry.Write([]byte(f[1]))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "provider.zip")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestCollection(t *testing.T) {
	named := func(host string) string {
		return strings.Replace(base(t), "remote 203.0.113.20 ", "remote "+host+" ", 1)
	}
	files := [][2]string{
		{"ovpn/nl-ams-1.ovpn", named("192.0.2.1")}, {"ovpn/nl-ams-2.ovpn", named("192.0.2.2")},
		{"ovpn/de-ber-1.ovpn", named("192.0.2.3")}, {"README.txt", "hello"},
		{"__MACOSX/ovpn/._nl-ams-1.ovpn", "junk"},
	}
	folder := t.TempDir()
	for _, f := range files {
		path := filepath.Join(folder, f[0])
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700),
			os.WriteFile(path, []byte(f[1]), 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for _, from := range []string{writeZip(t, files...), folder} {
		p, report, err := LoadAll(from, []string{"nl-ams-*", "ovpn/de-*"}, Options{})
		if err != nil {
			t.Fatal(err)
		}
		var hosts []string
		for _, r := range p.Remotes {
			hosts = append(hosts, r.Member+"="+r.Host)
		}
		if got := strings.Join(hosts, " "); !strings.HasPrefix(got,
			"nl-ams-1=192.0.2.1 ") || !strings.Contains(got, "nl-ams-2=192.0.2.2") ||
			!strings.Contains(got, "de-ber-1=192.0.2.3") {
			t.Errorf("servers %s", got)
		}
		if got := strings.Join(p.Members(), " "); got != "nl-ams-1 nl-ams-2 de-ber-1" {
			t.Errorf("members %s", got)
		}
		if len(report.Findings) != 9 {
			t.Errorf("findings that repeat are told once: %d\n%s", len(report.Findings), report)
		}
		if err := p.CheckCredentials(nil); !errors.Is(err, ErrCredentials) {
			t.Errorf("credentials: %v", err)
		}
		if len(p.Remotes) > 0 {
			text := p.TextFor(Attempt{Remote: p.Remotes[0]})
			assertSingle(t, text)
		}
	}
	for want, pick := range map[string][]string{
		`no profile matches "fr-*"; there are ovpn/de-ber-1.ovpn`: {"fr-*"},
		`"[" is not a pattern`: {"["},
	} {
		if _, _, err := LoadAll(folder, pick, Options{}); err == nil ||
			!strings.Contains(err.Error(), want) {
			t.Errorf("pick %v: %v, want %q", pick, err, want)
		}
	}
}

// assertSingle checks that a text has one server.
func assertSingle(t *testing.T, text string) {
	t.Helper()
	if n := strings.Count("\n"+text, "\nremote "); n != 1 {
		t.Errorf("%d servers in\n%s", n, text)
	}
}

func TestHostileArchives(t *testing.T) {
	good := base(t)
	bomb := strings.Repeat("\x00", 2<<20)
	many := make([][2]string, 0, 200)
	for i := range 200 {
		many = append(many, [2]string{fmt.Sprintf("%d.ovpn", i), bomb})
	}
	link := func() string {
		var b bytes.Buffer
		w := zip.NewWriter(&b)
		h := &zip.FileHeader{Name: "a.ovpn"}
		h.SetMode(os.ModeSymlink | 0o777)
		entry, err := w.CreateHeader(h)
		if err == nil {
			_, err = entry.Write([]byte("/etc/shadow"))
		}
		if err = errors.Join(err, w.Close()); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "link.zip")
		if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}()
	linkFolder := t.TempDir()
	if err := os.Symlink("/etc/shadow", filepath.Join(linkFolder, "a.ovpn")); err != nil {
		t.Fatal(err)
	}
	notZip := filepath.Join(t.TempDir(), "x.zip")
	if err := os.WriteFile(notZip, []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, path := range map[string]string{
		"leads out of the archive":        writeZip(t, [2]string{"../evil.ovpn", good}),
		`"/etc/x.ovpn" leads out`:         writeZip(t, [2]string{"/etc/x.ovpn", good}),
		`"a\\b.ovpn" leads out`:           writeZip(t, [2]string{`a\b.ovpn`, good}),
		"a.ovpn is in it twice":           writeZip(t, [2]string{"a.ovpn", good}, [2]string{"a.ovpn", good}),
		"a.ovpn is a link":                link,
		"a.ovpn is a symbolic link":       linkFolder,
		"larger than 1048576 bytes":       writeZip(t, [2]string{"a.ovpn", bomb}),
		"would be larger than 256 MiB":    writeZip(t, many...),
		"is not a ZIP archive":            notZip,
		"it holds no OpenVPN profile":     writeZip(t, [2]string{"README", "x"}),
		"a.ovpn:1: remote: \"YOUR_SERVER": writeZip(t, [2]string{"a.ovpn", "remote YOUR_SERVER 1\n" + good}),
	} {
		_, _, err := LoadAll(path, nil, Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
}

// TestLargeCollection holds the cost of 300 profiles.
func TestLargeCollection(t *testing.T) {
	files := make([][2]string, 300)
	for i := range files {
		files[i] = [2]string{fmt.Sprintf("server-%03d.ovpn", i), strings.Replace(base(t),
			"remote 203.0.113.20 ", fmt.Sprintf("remote 198.51.100.%d ", i%250+1), 1)}
	}
	path := writeZip(t, files...)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	begin := time.Now()
	p, _, err := LoadAll(path, nil, Options{})
	took := time.Since(begin)
	runtime.ReadMemStats(&after)
	if err != nil || len(p.Members()) != 300 {
		t.Fatal(err)
	}
	live := (after.HeapAlloc - before.HeapAlloc) >> 20
	t.Logf("300 profiles in %v, %d MiB", took, live)
	if took > 2*time.Second || live > 60 {
		t.Errorf("300 profiles took %v and %d MiB", took, live)
	}
	runtime.KeepAlive(p)
}

// FuzzArchive: no archive makes the reader panic or take more than its limits.
func FuzzArchive(f *testing.F) {
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	entry, err := w.Create("a/nl-1.ovpn")
	if err == nil {
		_, err = entry.Write([]byte("client\nremote 192.0.2.1\n"))
	}
	if err = errors.Join(err, w.Close()); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	path := filepath.Join(f.TempDir(), "fuzz.zip")
	f.Fuzz(func(t *testing.T, data []byte) {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		p, _, err := LoadAll(path, nil, Options{})
		if err == nil && len(p.Remotes) == 0 {
			t.Error("a collection without a server")
		}
	})
}
