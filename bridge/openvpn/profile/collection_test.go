package profile

import (
	"archive/zip"
	"bytes"
	"compress/flate"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// writeZip makes an archive of files, in the order given. It compresses each text once: some tests
// have thousands of the same.
func writeZip(t testing.TB, files ...[2]string) string {
	t.Helper()
	var b bytes.Buffer
	w := zip.NewWriter(&b)
	compressed := map[string][]byte{}
	for _, f := range files {
		name, text := f[0], f[1]
		if _, done := compressed[text]; !done {
			compressed[text] = deflate(t, text)
		}
		entry, err := w.CreateRaw(&zip.FileHeader{Name: name, Method: zip.Deflate,
			CRC32: crc32.ChecksumIEEE([]byte(text)), UncompressedSize64: uint64(len(text)),
			CompressedSize64: uint64(len(compressed[text]))})
		if err == nil {
			_, err = entry.Write(compressed[text])
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

func deflate(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := flate.NewWriter(&b, flate.BestSpeed)
	if err == nil {
		_, err = w.Write([]byte(text))
	}
	if err = errors.Join(err, w.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
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
	encrypted := func() string {
		data, err := os.ReadFile(writeZip(t, [2]string{"a.ovpn", good}))
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []struct{ magic, flags string }{{"PK\x03\x04", "\x06"},
			{"PK\x01\x02", "\x08"}} { // the flags of the entry and of the directory
			i := bytes.Index(data, []byte(at.magic))
			data[i+int(at.flags[0])] |= 1
		}
		path := filepath.Join(t.TempDir(), "encrypted.zip")
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}()
	write := func(name, text string) string {
		path := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	inner, err := os.ReadFile(writeZip(t, [2]string{"a.ovpn", good}))
	if err != nil {
		t.Fatal(err)
	}
	crowd := make([][2]string, 10000)
	for i := range crowd {
		crowd[i] = [2]string{fmt.Sprintf("server-%05d.ovpn", i), ""}
	}
	throng := make([][2]string, maxFiles+1)
	for i := range throng {
		throng[i] = [2]string{fmt.Sprintf("%05d.txt", i), ""}
	}
	packed := func() string { // by LZMA
		data, err := os.ReadFile(writeZip(t, [2]string{"a.ovpn", good}))
		if err != nil {
			t.Fatal(err)
		}
		data[8], data[bytes.Index(data, []byte("PK\x01\x02"))+10] = 14, 14
		return write("packed.zip", string(data))
	}()
	bad := t.TempDir()
	if err := os.WriteFile(filepath.Join(bad, "a\x1b[2J.ovpn"), []byte(good), 0o600); err != nil {
		t.Fatal(err)
	}
	for want, path := range map[string]string{
		"a.ovpn is encrypted; unpack":             encrypted,
		"another archive, inner.zip: unpack":      writeZip(t, [2]string{"inner.zip", string(inner)}),
		"10000 profiles are more than the 512":    writeZip(t, crowd...),
		"it holds more than 20000 files":          writeZip(t, throng...),
		`\x1b[2J.ovpn" holds a control`:           writeZip(t, [2]string{"a\x1b[2J.ovpn", good}),
		`a\x1b[2J.ovpn" holds a control`:          bad,
		"damaged, or its download was broken off": write("cut.zip", string(inner[:len(inner)/2])),
		"it is a RAR archive":                     write("x.zip", "Rar!\x1a\x07\x01"),
		"it is a web page":                        write("y.zip", "<!DOCTYPE html><html>"),
		"it is an empty file":                     write("z.zip", ""),
		"leads out of the archive":                writeZip(t, [2]string{"../evil.ovpn", good}),
		`"/etc/x.ovpn" leads out`:                 writeZip(t, [2]string{"/etc/x.ovpn", good}),
		`"..\\b.ovpn" leads out`:                  writeZip(t, [2]string{`..\b.ovpn`, good}),
		"packed by a method that is not read":     packed,
		"a.ovpn is in it twice":                   writeZip(t, [2]string{"a.ovpn", good}, [2]string{"a.ovpn", good}),
		"a.ovpn is a link":                        link,
		"a.ovpn is a symbolic link":               linkFolder,
		"larger than 1048576 bytes":               writeZip(t, [2]string{"a.ovpn", bomb}),
		"would be larger than 256 MiB":            writeZip(t, many...),
		`write "profile:" in the place`:           notZip,
		"it holds no OpenVPN profile":             writeZip(t, [2]string{"README", "x"}),
		"a.ovpn:1: remote: \"YOUR_SERVER":         writeZip(t, [2]string{"a.ovpn", "remote YOUR_SERVER 1\n" + good}),
	} {
		_, _, err := LoadAll(path, nil, Options{})
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q in it", err, want)
		}
	}
}

// TestMixedCollection: what providers hand out beside usable profiles keeps nobody from those.
func TestMixedCollection(t *testing.T) {
	good := base(t)
	tap := strings.Replace(good, "dev tun", "dev tap", 1)
	ca, err := os.ReadFile("testdata/profiles/legacy/ca.crt")
	if err != nil {
		t.Fatal(err)
	}
	named := "client\nremote 192.0.2.9\nca ../keys/ca.crt\nauth-user-pass\n"
	path := writeZip(t, [2]string{`win\nl-1.ovpn`, good}, [2]string{"a/nl.ovpn", good},
		[2]string{"a/nl.OVPN", good}, [2]string{"a/nl.conf", good}, [2]string{"b/nl.ovpn", good},
		[2]string{"a/x/__MACOSX/y.ovpn", "x"}, [2]string{"wg/be.conf", "[Interface]\n[Peer]\n"},
		[2]string{"tap.ovpn", tap}, [2]string{"more.zip", "x"},
		[2]string{"c/file.ovpn", named}, [2]string{"keys/ca.crt", string(ca)})
	p, report, err := LoadAll(path, nil, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(p.Members(), " "); got != "a/nl.OVPN a/nl.conf a/nl.ovpn file b/nl "+
		"nl-1" && got != "a/nl.OVPN a/nl.conf a/nl.ovpn b/nl file nl-1" {
		t.Errorf("members %s", got)
	}
	for _, want := range []string{"serious: left out: tap.ovpn:2: dev: it wants an Ethernet " +
		"bridge (tap); only routed tunnels (tun) can be used\n",
		"serious: left out: wg/be.conf: not an OpenVPN profile: it is a WireGuard file",
		"warning: more.zip: an archive in it is not read"} {
		if !strings.Contains(report.String(), want) {
			t.Errorf("the report has no %q:\n%s", want, report)
		}
	}
	for _, pick := range [][]string{{"tap"}, {"*", "tap"}, {"be", "nl-1"}, {"t*"}} {
		if _, _, err := LoadAll(path, pick, Options{}); err == nil {
			t.Errorf("pick %v takes a profile that cannot be used", pick)
		}
	}
	pipe := filepath.Join(t.TempDir(), "pipe.ovpn")
	if err := unix.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Load(pipe, Options{}); err == nil ||
		!strings.Contains(err.Error(), "it is not a file") {
		t.Errorf("a pipe: %v", err)
	}
}

// TestNamesOfOldPrograms: a name that is not UTF-8 keeps nobody from the profiles.
func TestNamesOfOldPrograms(t *testing.T) {
	path := writeZip(t, [2]string{"Z\x81rich.ovpn", base(t)}, [2]string{"Genf.ovpn", base(t)})
	p, _, err := LoadAll(path, nil, Options{})
	if err != nil || strings.Join(p.Members(), " ") != "Genf Z_rich" {
		t.Errorf("%v", err)
	}
}

// TestLargeCollection holds the cost of 300 profiles: memory, and that ten times as many take no
// more than twenty times as long. How long that is, BenchmarkLargeCollection tells.
func TestLargeCollection(t *testing.T) {
	small, large := profileArchive(t, 30), profileArchive(t, 300)
	few, many := time.Hour, time.Hour
	for range 3 { // the least of three: other programs use the machine, too
		few = min(few, loadTime(t, small, 30))
		runtime.GC()
		stop := mostMemory()
		many = min(many, loadTime(t, large, 300))
		if most := stop() >> 20; most > 60 {
			t.Errorf("300 profiles took %d MiB", most)
		}
	}
	t.Logf("30 profiles in %v, 300 in %v", few, many)
	if many > 20*few {
		t.Errorf("300 profiles took %v, 30 took %v", many, few)
	}
}

// profileArchive makes an archive of so many profiles, and returns its path.
func profileArchive(t testing.TB, count int) string {
	text := base(t)
	files := make([][2]string, count)
	for i := range files {
		files[i] = [2]string{fmt.Sprintf("server-%03d.ovpn", i), strings.Replace(text,
			"remote 203.0.113.20 ", fmt.Sprintf("remote 198.51.100.%d ", i%250+1), 1)}
	}
	return writeZip(t, files...)
}

// loadTime returns the time of a processor that it takes to read an archive of so many profiles:
// what other programs do at the same time does not count.
func loadTime(t testing.TB, path string, count int) time.Duration {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	used := func() time.Duration {
		var u unix.Rusage
		if err := unix.Getrusage(unix.RUSAGE_THREAD, &u); err != nil {
			t.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	begin := used()
	p, _, err := LoadAll(path, nil, Options{})
	took := used() - begin
	if err != nil || len(p.Members()) != count {
		t.Fatal(err)
	}
	return took
}

// mostMemory samples the heap, garbage included, until the function it returns is called, which
// returns the most that was in use, in bytes.
func mostMemory() func() uint64 {
	done, sampled := make(chan struct{}), make(chan uint64)
	go func() {
		var memory runtime.MemStats
		most := uint64(0)
		for tick := time.NewTicker(2 * time.Millisecond); ; {
			runtime.ReadMemStats(&memory)
			most = max(most, memory.HeapAlloc)
			select {
			case <-tick.C:
			case <-done:
				tick.Stop()
				sampled <- most
				return
			}
		}
	}()
	return func() uint64 { close(done); return <-sampled }
}

func BenchmarkLargeCollection(b *testing.B) {
	path := profileArchive(b, 300)
	for b.Loop() {
		loadTime(b, path, 300)
	}
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
