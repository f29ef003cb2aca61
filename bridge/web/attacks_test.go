package web

import (
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"testing"
	"time"
)

// ownerPosts are all forms of the owner's.
var ownerPosts = []string{"/exits/use", "/exits/reset", "/reload", "/reload/keep",
	"/clients/disconnect", "/clients/add", "/clients/link", "/clients/revoke",
	"/maintenance/restart", "/maintenance/update", "/maintenance/messages", "/maintenance/support",
	"/maintenance/backup", "/network/authorize", "/network/deauthorize", planPage, teardownPage,
	tokenPath, tokenPath + "/forget", setupPage + "/network", uploadPage, uploadPage + "/apply",
	uploadPage + "/discard"}

// TestOnlyTheOwnerActs: neither a device that is recognised, with the token of its own form, nor a
// viewer carries out any action of the owner's.
func TestOnlyTheOwnerActs(t *testing.T) {
	for _, who := range []string{"member", "viewer"} {
		of := remembering()
		of.set(working())
		device := laptop()
		of.recognise(device, nil)
		s, server := served(t, of)
		fake := &fakeBox{network: someMembers()}
		fake.serve(s)
		v := visit(t, server.URL)
		var token string
		want := http.StatusForbidden
		if who == "member" {
			_, body := v.ask(http.MethodGet, "/", nil)
			m := tokenRE.FindStringSubmatch(body)
			if m == nil {
				t.Fatalf("the device sees no form of its own:\n%s", body)
			}
			token, want = m[1], http.StatusUnauthorized
		} else {
			token = v.as(who)
		}
		for _, path := range ownerPosts {
			form := url.Values{"token": {token}, "exit": {"backup"}, "client": {"phone"},
				"member": {"2222222222"}, "name": {"x"}, "key": {"x"}, "network": {"abcdef0123000001"}}
			if response, body := v.ask(http.MethodPost, path, form); response.StatusCode != want {
				t.Errorf("%s: POST %s: %d, want %d:\n%s", who, path, response.StatusCode, want, body)
			}
		}
		if len(of.did) > 0 || len(fake.did) > 0 || fake.restarts+fake.updates > 0 ||
			fake.network.members[2].Authorized {
			t.Errorf("%s: the box did %v %v", who, of.did, fake.did)
		}
	}
}

// TestHostsOfThePage are its addresses and names in every way of writing them, and no other.
func TestHostsOfThePage(t *testing.T) {
	of := &box{}
	of.set(working())
	_, server := served(t, of)
	v := visit(t, server.URL)
	for name, own := range map[string]bool{
		"127.0.0.1": true, "127.0.0.1:80": true, "ztbridge.local": true, "ZtBridge.LOCAL": true,
		"ztbridge.local.": true, "ztbridge.local:8080": true, "ztbridge.local.:80": true,
		"[::ffff:127.0.0.1]:80": true, // the same address
		"localhost":             false, "127.1": false, "2130706433": false, "0x7f.0.0.1": false,
		"127.0.0.2": false, "[::1]": false, "[fe80::1%25eth0]": false, "[fd00::1]:80": false,
		"ztbridge.local.evil.example": false, "evil.example#ztbridge.local": false,
		"evil.example@127.0.0.1": false, "127.0.0.1@evil.example": false, "ztbridge": false,
		"ztbridge.local..": false, "127.0.0.1.evil.example": false, "0.0.0.0": false, "[::]": false,
		"127.0.0.1:80:80": false, "10.147.17.1": false, "192.168.1.20": false,
	} {
		response, body := v.ask(http.MethodGet, "/login", nil, host(name))
		if ok := response.StatusCode == http.StatusOK; ok != own {
			t.Errorf("Host %q: %d:\n%s", name, response.StatusCode, body)
		}
		if !own && strings.Contains(body, "<form") {
			t.Errorf("Host %q sees the page:\n%s", name, body)
		}
	}
}

// TestSessionsAreTheirOwn: no session is chosen by who plants a cookie, one's form is of no use in
// another, and neither is a cookie of another name.
func TestSessionsAreTheirOwn(t *testing.T) {
	of := &box{}
	of.set(working())
	_, server := served(t, of)
	first, second := visit(t, server.URL), visit(t, server.URL)
	planted := &http.Cookie{Name: "ztbridge", Value: "planted-by-somebody-else", Path: "/"}
	first.client.Jar.SetCookies(mustURL(t, server.URL), []*http.Cookie{planted})
	tokens := map[*visitor]string{first: first.as("owner"), second: second.as("owner")}
	if c := first.client.Jar.Cookies(mustURL(t, server.URL)); len(c) != 1 ||
		c[0].Value == planted.Value {
		t.Errorf("the planted cookie is the session's: %v", c)
	}
	response, _ := second.ask(http.MethodPost, "/exits/reset", url.Values{"token": {tokens[first]}})
	if response.StatusCode != http.StatusForbidden || len(of.did) > 0 {
		t.Errorf("another session's form: %d, %v", response.StatusCode, of.did)
	}
	thief := visit(t, server.URL)
	cookie := first.client.Jar.Cookies(mustURL(t, server.URL))[0].Value
	for _, name := range []string{"__Host-ztbridge", "ZTBRIDGE", "ztbridge "} {
		response, _ := thief.ask(http.MethodGet, "/activity", nil,
			header("Cookie", name+"="+cookie))
		if response.StatusCode == http.StatusOK && name != "ztbridge " {
			t.Errorf("the cookie %q is taken: %d", name, response.StatusCode)
		}
	}
	// Both act, one after the other and at once.
	done := make(chan int, 20)
	for v, token := range tokens {
		for range 10 {
			go func() {
				response, _ := v.ask(http.MethodPost, "/exits/use", url.Values{"token": {token},
					"exit": {"backup"}})
				done <- response.StatusCode
			}()
		}
	}
	for range 20 {
		if code := <-done; code != http.StatusSeeOther {
			t.Errorf("two owners at once: %d", code)
		}
	}
}

// TestHugeInputsCostNothing: long fields, many fields, long paths and headers.
func TestHugeInputsCostNothing(t *testing.T) {
	of := &box{}
	of.set(working())
	s, server := served(t, of)
	v := visit(t, server.URL)
	token := v.as("owner")
	long := strings.Repeat("a", maxForm)
	for name, form := range map[string]url.Values{
		"a long exit":     {"token": {token}, "exit": {long[:maxForm-200]}},
		"too long a form": {"token": {token}, "exit": {long}},
		"a long token":    {"token": {long[:maxForm-200]}, "exit": {"backup"}},
		"control signs":   {"token": {token}, "exit": {"a\r\nSet-Cookie: x=y\x00\u202e"}},
	} {
		response, body := v.ask(http.MethodPost, "/exits/use", form)
		if code := response.StatusCode; code < 400 || code >= 500 || len(response.Cookies()) > 0 {
			t.Errorf("%s: %d %v\n%.200s", name, code, response.Cookies(), body)
		}
	}
	response, _ := v.ask(http.MethodPost, "/login", url.Values{"password": {long[:maxForm-200]}})
	if response.StatusCode != http.StatusUnauthorized {
		t.Errorf("a long password: %d", response.StatusCode)
	}
	if response, _ := v.ask(http.MethodGet, "/"+long[:8000], nil); response.StatusCode != 404 {
		t.Errorf("a long path: %d", response.StatusCode)
	}
	entries, err := s.audit.last(100)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if len(e.What)+len(e.Failed) > 2*maxForm || strings.ContainsAny(e.What, "\r\n\x00") {
			t.Errorf("the log has %d bytes: %.100q", len(e.What), e.What)
		}
	}
}

// TestOneNetworkLocksNobodyOut: who has all addresses of a /64 has a bounded number of guesses, and
// the owner logs in from another network meanwhile, and by IPv4.
func TestOneNetworkLocksNobodyOut(t *testing.T) {
	of := &box{}
	of.set(working())
	s, _ := served(t, of)
	now := time.Now()
	clock := func() time.Time { return now }
	s.config.Now = clock
	s.limitBy(clock)
	attempt := func(from netip.Addr) bool {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "/login", nil)
		if err != nil {
			t.Fatal(err)
		}
		r.RemoteAddr = netip.AddrPortFrom(from, 1234).String()
		_, ok := s.attempt(r)
		return ok
	}
	guesses := 0
	for i := range 4000 {
		if attempt(netip.MustParseAddr(fmt.Sprintf("fd99::%x:%x", i/100+1, i%100+1))) {
			guesses++
		}
	}
	if guesses != wrongBurst*networkWrong {
		t.Errorf("%d guesses out of one /64", guesses)
	}
	for _, other := range addrs("fd98::1", "10.147.17.5", "fd99:0:0:1::1") {
		if !attempt(other) {
			t.Errorf("%s is locked out", other)
		}
	}
	now = now.Add(wrongEvery / networkWrong)
	if !attempt(netip.MustParseAddr("fd99::ffff")) {
		t.Error("nobody of that network may try any more")
	}
	streams := streams{of: map[source]int{}}
	opened := 0
	for i := range 100 {
		if streams.open(netip.MustParseAddr(fmt.Sprintf("fd99::%x", i+1))) {
			opened++
		}
	}
	if opened != maxStreams/2 || !streams.open(netip.MustParseAddr("10.147.17.5")) {
		t.Errorf("one /64 has %d streams of %d", opened, maxStreams)
	}
	asked := 0
	for i := range 4000 {
		if s.requests.Take(netip.MustParseAddr(fmt.Sprintf("fd99::%x", i+1))) {
			asked++
		}
	}
	if asked != requestBurst*networkRequests {
		t.Errorf("%d requests at once out of one /64", asked)
	}
}
