package services

import (
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"
)

func TestServersIn(t *testing.T) {
	for text, want := range map[string][]string{
		"# comment\nnameserver 127.0.0.53\nnameserver 192.0.2.1\nnameserver fe80::1%eth0\n": {
			"192.0.2.1", "fe80::1"},
		"server 192.0.2.7 iburst\npool pool.ntp.org\npeer 2001:db8::7\nallow 10.0.0.0/8\n": {
			"192.0.2.7", "2001:db8::7"},
		"[Time]\nNTP=192.0.2.8 time.example.org\n#FallbackNTP=192.0.2.9\n": {"192.0.2.8"},
		"DNS=192.0.2.3 2001:db8::3\nNTP=\nADDRESSES=10.0.0.2/24\n": {"192.0.2.3",
			"2001:db8::3"},
		"DNS=192.0.2.4#dns.example 192.0.2.5:53%eth0#dns.example [2001:db8::4]:853\n": {"192.0.2.4",
			"192.0.2.5", "2001:db8::4"},
		"": nil, "nameserver": nil, "=\n= =": nil,
	} {
		var addrs []netip.Addr
		for _, w := range want {
			addrs = append(addrs, netip.MustParseAddr(w))
		}
		if got := serversIn(text); !slices.Equal(got, addrs) {
			t.Errorf("%q: got %v, want %v", text, got, addrs)
		}
	}
}

// A file that changes is read again, also when another one takes its place; one that stays is not.
func TestServerFilesAreReadOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "resolv.conf")
	f := &serverFiles{patterns: []string{path}}
	long := time.Now().Add(-time.Hour)
	write := func(path, text string, at time.Time) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	check := func(step string, want ...string) {
		t.Helper()
		var got []string
		for _, a := range f.addrs() {
			got = append(got, a.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", step, got, want)
		}
	}
	check("no file")
	write(path, "nameserver 192.0.2.1\n", long)
	check("a file", "192.0.2.1")
	write(path, "nameserver 192.0.2.2\n", long)
	check("the same file", "192.0.2.1")
	write(path, "nameserver 192.0.2.2\n", long.Add(time.Second))
	check("written again", "192.0.2.2")
	write(path+".new", "nameserver 192.0.2.3\n", long.Add(time.Second))
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	check("replaced", "192.0.2.3")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	check("removed")
}

func FuzzServersIn(f *testing.F) {
	f.Add("nameserver 192.0.2.1\nNTP=2001:db8::1 x\n")
	f.Fuzz(func(t *testing.T, text string) {
		for _, a := range serversIn(text) {
			if !a.IsValid() || a.IsLoopback() {
				t.Errorf("%v out of %q", a, text)
			}
		}
	})
}
