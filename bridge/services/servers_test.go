package services

import (
	"net/netip"
	"slices"
	"testing"
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
