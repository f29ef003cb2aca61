package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"ztbridge/bridge/api"
	"ztbridge/bridge/web/browsertest"
)

func (b *box) UseFor(context.Context, api.DeviceRequest) (api.Identity, error) {
	return api.Identity{}, b.note("use for anybody")
}

func (b *box) Identify(_ context.Context, from api.Sender) (api.Identity, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.asked = append(b.asked, from)
	if b.device == nil || b.identify != nil {
		return api.Identity{}, cmp.Or(b.identify, api.ErrUnvouched)
	}
	return *b.device, nil
}

func (b *box) UseOwn(ctx context.Context, from api.Sender, egress string) (api.Identity, error) {
	of, err := b.Identify(ctx, from)
	if err != nil {
		return api.Identity{}, err
	}
	if egress != "" && !slices.Contains(of.Offers, egress) {
		return api.Identity{}, fmt.Errorf("%s may not choose %q: %w", of.Name, egress,
			api.ErrNotFound)
	}
	of.Choice, of.Egress = egress, cmp.Or(egress, "provider")
	b.recognise(&of, nil)
	return of, b.note("own " + egress)
}

// recognise says who the sender is from now on.
func (b *box) recognise(of *api.Identity, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.device, b.identify = of, err
}

func laptop() *api.Identity {
	return &api.Identity{Kind: "member", ID: "89e92ceee5", Network: "abcdef0123000001",
		Name: "laptop", Offers: []string{"provider", "backup", "direct"}, Egress: "provider"}
}

// TestMemberSeesItselfAlone asks for everything as a device that has not logged in: what is not its
// own page is answered as to anybody else.
func TestMemberSeesItselfAlone(t *testing.T) {
	of := &box{}
	of.set(working())
	of.recognise(laptop(), nil)
	_, server := served(t, of)
	v := visit(t, server.URL)
	for _, token := range []string{"", v.token()} {
		for _, a := range actions {
			form := url.Values{"token": {token}}
			for name, value := range a.form {
				form.Set(name, value)
			}
			response, body := v.ask(a.method, a.path, form)
			want := a.want["nobody"]
			if a.method+a.path == "GET/" {
				want = http.StatusOK
			}
			if response.StatusCode != want {
				t.Errorf("%s %s: %d, want %d:\n%s", a.method, a.path, response.StatusCode, want, body)
			}
			for _, sent := range a.form { // a form that was not carried out comes back
				body = strings.ReplaceAll(body, sent, "")
			}
			shows(t, body, "phone", "10.83.64.9", "a1b2c3d4e5", "203.0.113.5", "Where traffic goes")
		}
	}
	if len(of.did) > 0 {
		t.Errorf("the box was told to %v", of.did)
	}
	response, _ := v.ask(http.MethodGet, "/events", nil)
	if response.StatusCode != http.StatusSeeOther {
		t.Errorf("the owner's events: %d", response.StatusCode)
	}
	for _, path := range []string{"/", "/device"} {
		_, body := v.ask(http.MethodGet, path, nil)
		for _, want := range []string{"laptop", "Leaves by provider", "203.0.113.77", "backup",
			"direct", "CH", `action="/device/exit"`, "/login"} {
			if !strings.Contains(body, want) {
				t.Errorf("%s does not show %q:\n%s", path, want, body)
			}
		}
	}
}

// shows fails the test if a page tells of what it must not.
func shows(t *testing.T, body string, secret ...string) {
	t.Helper()
	for _, one := range secret {
		if strings.Contains(body, one) {
			t.Errorf("the page tells of %q:\n%s", one, body)
		}
	}
}

// TestMemberChooses takes an exit, goes back, and goes beyond its list, all of which is in the log.
func TestMemberChooses(t *testing.T) {
	of := &box{}
	of.set(working())
	of.recognise(laptop(), nil)
	s, server := served(t, of)
	v := visit(t, server.URL)
	for _, step := range []struct {
		exit string
		want int
	}{{"direct", 303}, {"nosuch", 404}, {"", 303}} {
		response, body := v.ask(http.MethodPost, "/device/exit",
			url.Values{"token": {v.token()}, "exit": {step.exit}})
		if response.StatusCode != step.want {
			t.Errorf("choosing %q: %d\n%s", step.exit, response.StatusCode, body)
		}
		if _, body := v.ask(http.MethodGet, "/", nil); step.exit == "direct" &&
			!strings.Contains(body, "Leaves by direct") {
			t.Errorf("the page does not show the choice:\n%s", body)
		}
	}
	if want := []string{"own direct", "own "}; !slices.Equal(of.did, want) {
		t.Errorf("the box was told to %v, want %v", of.did, want)
	}
	entries, err := s.audit.last(10)
	if err != nil || len(entries) != 3 {
		t.Fatalf("the log has %+v, %v", entries, err)
	}
	for i, want := range []string{"follow the rule again for member 89e92ceee5",
		`choose the exit "nosuch" for member 89e92ceee5`,
		`choose the exit "direct" for member 89e92ceee5`} {
		if e := entries[i]; e.What != want || e.Who != Member || (e.Failed != "") != (i == 1) {
			t.Errorf("the log has %+v, want %q", e, want)
		}
	}
}

// TestMemberOfNoRule sees its exit, and has nothing to choose.
func TestMemberOfNoRule(t *testing.T) {
	of := &box{}
	of.set(working())
	device := laptop()
	device.Offers = []string{}
	of.recognise(device, nil)
	_, server := served(t, of)
	_, body := visit(t, server.URL).ask(http.MethodGet, "/", nil)
	if !strings.Contains(body, "Leaves by provider") || strings.Contains(body, "<form") {
		t.Errorf("the page is:\n%s", body)
	}
	shows(t, body, "backup", "direct")
}

// TestNobodyIsAMember: who is not vouched for has to log in, whatever he sends; the owner is not
// kept out by it.
func TestNobodyIsAMember(t *testing.T) {
	of := &box{}
	of.set(working())
	_, server := served(t, of)
	v := visit(t, server.URL)
	for _, err := range []error{nil, fmt.Errorf("it is another's: %w", api.ErrUnvouched),
		errors.New("the kernel does not answer")} {
		of.recognise(nil, err)
		for path, want := range map[string]int{"/": 303, "/device": 403, "/device/events": 403} {
			response, body := v.ask(http.MethodGet, path, nil)
			if response.StatusCode != want {
				t.Errorf("%v: %s: %d", err, path, response.StatusCode)
			}
			shows(t, body, "provider", "laptop")
		}
		response, _ := v.ask(http.MethodPost, "/device/exit", url.Values{"exit": {"direct"}})
		if response.StatusCode != http.StatusForbidden {
			t.Errorf("%v: choosing: %d", err, response.StatusCode)
		}
	}
	if v.login(ownerPassword) != http.StatusSeeOther {
		t.Error("the owner cannot log in")
	}
	if response, body := v.ask(http.MethodGet, "/", nil); response.StatusCode != 200 ||
		!strings.Contains(body, "Where traffic goes") {
		t.Errorf("the owner's page: %d", response.StatusCode)
	}
	if len(of.did) > 0 {
		t.Errorf("the box was told to %v", of.did)
	}
}

// TestForeignPagesChooseNothing sends a member's form as other web pages could make its browser do:
// there is no cookie that the browser would keep back.
func TestForeignPagesChooseNothing(t *testing.T) {
	of := &box{}
	of.set(working())
	of.recognise(laptop(), nil)
	_, server := served(t, of)
	v := visit(t, server.URL)
	token := v.token()
	for name, edit := range foreign {
		response, body := v.ask(http.MethodPost, "/device/exit",
			url.Values{"token": {token}, "exit": {"direct"}}, edit)
		if code := response.StatusCode; code != 403 && code != 421 {
			t.Errorf("%s: %d\n%s", name, code, body)
		}
	}
	response, body := v.ask(http.MethodGet, "/", nil, host("evil.example"))
	if response.StatusCode != http.StatusMisdirectedRequest {
		t.Errorf("a page by rebinding: %d", response.StatusCode)
	}
	shows(t, body, "laptop", "provider")
	other := laptop()
	other.ID = "1122334455"
	of.recognise(other, nil)
	others := v.token()
	of.recognise(laptop(), nil)
	for _, bad := range []string{"", "x", token + "x", token[1:], others} {
		response, _ := v.ask(http.MethodPost, "/device/exit",
			url.Values{"token": {bad}, "exit": {"direct"}})
		if response.StatusCode != http.StatusForbidden {
			t.Errorf("token %q: %d", bad, response.StatusCode)
		}
	}
	if len(of.did) > 0 {
		t.Errorf("the box was told to %v", of.did)
	}
}

// TestNewConnectionIsAskedFor where the old one proves nothing: a browser follows, with what its
// form holds, and gives up after a while.
func TestNewConnectionIsAskedFor(t *testing.T) {
	of := &box{}
	of.set(working())
	of.recognise(laptop(), nil)
	_, server := served(t, of)
	v := visit(t, server.URL)
	token := v.token()
	of.recognise(laptop(), api.ErrAskAgain)
	for path, want := range map[string]string{"/": "/?again=1", "/device?again=2": "/device?again=3"} {
		response, _ := v.ask(http.MethodGet, path, nil)
		if response.StatusCode != http.StatusSeeOther || !response.Close ||
			response.Header.Get("Location") != want {
			t.Errorf("%s: %d to %s, closed: %t", path, response.StatusCode,
				response.Header.Get("Location"), response.Close)
		}
	}
	form := url.Values{"token": {token}, "exit": {"direct"}}
	response, _ := v.ask(http.MethodPost, "/device/exit", form)
	if response.StatusCode != http.StatusTemporaryRedirect || !response.Close {
		t.Errorf("a form: %d, closed: %t", response.StatusCode, response.Close)
	}
	for _, again := range []string{"8", "99999", "-5"} {
		response, _ = v.ask(http.MethodGet, "/?again="+again, nil)
		if response.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("after %s times: %d", again, response.StatusCode)
		}
	}
	of.recognise(laptop(), nil)
	response, _ = v.ask(http.MethodPost, "/device/exit?again=1", form)
	if response.StatusCode != http.StatusSeeOther || !slices.Equal(of.did, []string{"own direct"}) {
		t.Errorf("the form by a new connection: %d, %v", response.StatusCode, of.did)
	}
}

// TestChoicesAreLimited for each device: each costs a pass, and a write to the disk.
func TestChoicesAreLimited(t *testing.T) {
	of := &box{}
	of.set(working())
	of.recognise(laptop(), nil)
	s, server := served(t, of)
	v := visit(t, server.URL)
	now := time.Now()
	s.limitBy(func() time.Time { return now })
	choose := func(token string) *http.Response {
		response, _ := v.ask(http.MethodPost, "/device/exit",
			url.Values{"token": {token}, "exit": {"direct"}})
		return response
	}
	token := v.token()
	for i := range chooseBurst + 1 {
		want := http.StatusSeeOther
		if i == chooseBurst {
			want = http.StatusTooManyRequests
		}
		if response := choose(token); response.StatusCode != want ||
			(response.Header.Get("Retry-After") != "") != (i == chooseBurst) {
			t.Errorf("choice %d: %d", i, response.StatusCode)
		}
	}
	other := laptop()
	other.ID = "1122334455"
	of.recognise(other, nil)
	if code := choose(v.token()).StatusCode; code != http.StatusSeeOther {
		t.Errorf("another device: %d", code)
	}
	of.recognise(laptop(), nil)
	now = now.Add(chooseEvery)
	if code := choose(token).StatusCode; code != http.StatusSeeOther {
		t.Errorf("after the wait: %d", code)
	}
}

// TestSenderIsTheConnection: who asks is told by the socket, not by what is sent on it.
func TestSenderIsTheConnection(t *testing.T) {
	of := &box{}
	of.set(working())
	of.recognise(laptop(), nil)
	_, server := served(t, of)
	began := time.Now()
	v := visit(t, server.URL)
	for range 2 {
		v.ask(http.MethodGet, "/", nil, header("X-Forwarded-For", "10.9.9.9"),
			header("X-Real-Ip", "10.9.9.9"), header("Forwarded", "for=10.9.9.9"))
	}
	first := of.asked[0]
	if first.Iface != "zt0" || first.Addr != netip.MustParseAddr("127.0.0.1") ||
		first.Opened.Before(began.Add(-time.Second)) || first.Opened.After(time.Now()) {
		t.Errorf("the sender is %+v", first)
	}
	if second := of.asked[1]; second != first {
		t.Errorf("the same connection is %+v, then %+v", first, second)
	}
}

// TestNotes: why a choice is not what is used.
func TestNotes(t *testing.T) {
	for _, tt := range []struct {
		name  string
		edit  func(*api.Identity)
		tone  tone
		title string
		note  string
	}{
		{"no choice", func(*api.Identity) {}, good, "Leaves by provider", ""},
		{"a choice", func(of *api.Identity) { of.Choice = "provider" }, good, "Leaves by provider", ""},
		{"IPv6 elsewhere", func(of *api.Identity) { of.Egress6 = "direct" }, good,
			"Leaves by provider, IPv6 by direct", ""},
		{"down", func(of *api.Identity) { of.Choice, of.Egress = "provider", "" }, bad,
			"Blocked: no exit carries what this device sends now",
			"You chose provider, which is not available now."},
		{"by another", func(of *api.Identity) { of.Choice, of.Egress = "provider", "backup" }, warn,
			"Leaves by backup", "You chose provider, which is not available now."},
		{"not offered any more", func(of *api.Identity) { of.Choice = "gone" }, warn,
			"Leaves by provider", "You chose gone, which this device may not use any more."},
		{"not followed", func(of *api.Identity) { of.Choice = "backup" }, warn,
			"Leaves by provider", "You chose backup. The box does not use it now."},
		{"nothing for it", func(of *api.Identity) { of.Offers, of.Egress = nil, "" }, bad,
			"Blocked: no exit carries what this device sends now", ""},
	} {
		of := laptop()
		tt.edit(of)
		v := ownViewOf(*of, onBackup())
		if v.Tone != tt.tone || v.Title != tt.title || v.Note != tt.note {
			t.Errorf("%s: %s, %q, %q", tt.name, v.Tone, v.Title, v.Note)
		}
	}
}

// TestMemberTaps takes an exit in a browser, sees it used, and sees a failover without a click.
func TestMemberTaps(t *testing.T) {
	t.Parallel()
	of := &box{}
	of.set(working())
	of.recognise(laptop(), nil)
	_, server := served(t, of)
	b := browsertest.New(t, browsertest.Options{Allowed: []string{"403"}})
	b.Do(chromedp.EmulateViewport(390, 844))
	b.Open(server.URL)
	b.See(`form:has([value=backup]) button`)
	b.Click(`form:has([value=backup]) button`)
	b.WaitFor(`document.querySelector("h1").textContent === "Leaves by backup" &&
		document.querySelector("form:has([value=backup]) button").disabled`)
	moved := laptop()
	moved.Choice, moved.Egress = "backup", ""
	of.recognise(moved, nil)
	of.set(working())
	b.WaitFor(`document.querySelector(".verdict.is-bad h1").textContent.startsWith("Blocked")`)
	// Who is not recognised any more is told so.
	of.recognise(nil, nil)
	of.set(working())
	b.WaitFor(`document.querySelector("h1").textContent.includes("cannot tell which device")`)
}
