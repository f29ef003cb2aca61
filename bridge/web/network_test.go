package web

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/network"
	"ztbridge/bridge/web/browsertest"
	"ztbridge/bridge/zerotier"
	"ztbridge/bridge/zerotier/controller"
)

// fakeNetwork is a network at its controller.
type fakeNetwork struct {
	members []controller.Member
	without bool // a controller
	fails   error
}

func (n *fakeNetwork) HasController() bool    { return !n.without }
func (n *fakeNetwork) UsesToken() bool        { return !n.without }
func (n *fakeNetwork) KeptToken() string      { return "" }
func (n *fakeNetwork) Self() zerotier.Address { return 0xa1b2c3d4e5 }

func (n *fakeNetwork) Members(context.Context) ([]controller.Member, error) {
	return n.members, n.fails
}

func (n *fakeNetwork) Authorize(_ context.Context, who string, yes bool) (zerotier.Address, error) {
	i := slices.IndexFunc(n.members,
		func(m controller.Member) bool { return m.Address.String() == who })
	if i < 0 {
		return 0, errors.New("there is no such member")
	}
	n.members[i].Authorized = yes
	return n.members[i].Address, nil
}

func (n *fakeNetwork) PlanSetup(context.Context, network.SetupOptions) (*network.Setup, error) {
	return nil, n.fails
}

func (n *fakeNetwork) PlanTeardown(context.Context) (*network.Teardown, error) {
	return nil, network.ErrNothingAdded
}

func (n *fakeNetwork) Steps(context.Context, network.SetupOptions) ([]string, error) {
	return []string{"Open the page."}, nil
}

func someMembers() fakeNetwork {
	return fakeNetwork{members: []controller.Member{
		{Address: 0xa1b2c3d4e5, Authorized: true, Addrs: addrs("10.147.17.1")},
		{Address: 0x1111111111, Name: "laptop", Authorized: true, Addrs: addrs("10.147.17.5")},
		{Address: 0x2222222222, Name: `<b>"phone"`, LastSeen: time.Now().Add(-time.Minute)},
	}}
}

// TestMemberIsLetIn by the keyboard, and barred after a question.
func TestMemberIsLetIn(t *testing.T) {
	t.Parallel()
	of := &box{}
	of.set(working())
	s, server := served(t, of)
	fake := &fakeBox{network: someMembers()}
	fake.serve(s)
	b := browsertest.New(t, browsertest.Options{})
	b.Login(server.URL, ownerPassword)
	b.Click(`nav a[href="/network"]`)
	b.WaitFor(`document.querySelector(".rows li").textContent.includes("Waiting")`)
	if text := b.Text("main"); !strings.Contains(text, "10.147.17.5") ||
		!strings.Contains(text, "This box") || !strings.Contains(text, `<b>"phone"`) {
		t.Errorf("the page says:\n%s", text)
	}
	b.Type(`form[action="/network/authorize"] button`, "\r")
	b.WaitFor(`!document.querySelector('form[action="/network/authorize"]')`)
	bar := `form[action="/network/deauthorize"]:has([value="2222222222"]) button`
	b.ClickAndAnswer(bar, true)
	b.WaitFor(`document.querySelector(".rows li").textContent.includes("Waiting")`)
	log, err := os.ReadFile(filepath.Join(s.config.Dir, auditFile))
	if err != nil || !strings.Contains(string(log), `let the member \"2222222222\" into`) ||
		!strings.Contains(string(log), `bar the member \"2222222222\" from`) {
		t.Errorf("the log has %v\n%s", err, log)
	}
}

// TestNetworkRoles: the members are the owner's to see and to change.
func TestNetworkRoles(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"nobody", "viewer", "owner"} {
		of := &box{}
		of.set(working())
		s, server := served(t, of)
		fake := &fakeBox{network: someMembers()}
		fake.serve(s)
		v := visit(t, server.URL)
		token := v.as(who)
		if who == "owner" {
			response, _ := v.ask(http.MethodPost, "/network/authorize", url.Values{"token": {token},
				"member": {"2222222222"}}, header("Origin", "http://evil.example"))
			if response.StatusCode != http.StatusForbidden || fake.network.members[2].Authorized {
				t.Errorf("another origin: %d", response.StatusCode)
			}
		}
		for _, a := range []action{
			{http.MethodGet, "/network", nil, answers(303, 403, 200)},
			{http.MethodPost, "/network/authorize", map[string]string{"member": "2222222222"},
				answers(401, 403, 303)},
			{http.MethodPost, "/network/authorize", map[string]string{"member": "laptop"},
				answers(401, 403, 422)},
			{http.MethodPost, "/network/authorize", nil, answers(401, 403, 422)},
			{http.MethodPost, "/network/deauthorize", map[string]string{"member": "1111111111"},
				answers(401, 403, 303)},
		} {
			form := url.Values{"token": {token}}
			for name, value := range a.form {
				form.Set(name, value)
			}
			response, body := v.ask(a.method, a.path, form)
			if response.StatusCode != a.want[who] {
				t.Errorf("%s: %s %s %v: %d, want %d:\n%s", who, a.method, a.path, a.form,
					response.StatusCode, a.want[who], body)
			}
		}
		changed := fake.network.members[2].Authorized && !fake.network.members[1].Authorized
		if changed != (who == "owner") {
			t.Errorf("%s has made of the members %+v", who, fake.network.members)
		}
	}
}

// TestNetworkWithoutController says what to do.
func TestNetworkWithoutController(t *testing.T) {
	t.Parallel()
	for want, n := range map[string]fakeNetwork{
		"This needs": {without: true}, "The controller does not answer.": {
			fails: errors.New("the controller does not answer")},
	} {
		of := &box{}
		of.set(working())
		s, server := served(t, of)
		(&fakeBox{network: n}).serve(s)
		v := visit(t, server.URL)
		v.login(ownerPassword)
		response, body := v.ask(http.MethodGet, "/network", nil)
		if response.StatusCode != http.StatusOK ||
			!strings.Contains(strings.ToLower(body), strings.ToLower(want)) {
			t.Errorf("%d, and not %q:\n%s", response.StatusCode, want, body)
		}
	}
}
