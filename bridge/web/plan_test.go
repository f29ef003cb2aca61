package web

import (
	"bytes"
	"context"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ztbridge/bridge/config"
	"ztbridge/bridge/network"
	"ztbridge/bridge/web/browsertest"
	"ztbridge/bridge/zerotier/controllertest"
)

// planBox is a page with a real session of `ztbridge network` behind it, a zerotier-one, and one
// controller of a kind.
type planBox struct {
	t          *testing.T
	dir        string
	controller *controllertest.Server // the box's own for OnBox
	page       *Server
	served     *httptest.Server
	logged     bytes.Buffer
	byHand     bool // the configuration cannot be changed from the page
}

const plannedNetwork = "a1b2c3d4e5000001"

func newPlanBox(t *testing.T, kind controllertest.API, networks string) *planBox {
	t.Helper()
	of := &box{}
	of.set(working())
	b := &planBox{t: t, dir: t.TempDir(), controller: controllertest.New(t, kind)}
	local := b.controller
	if kind != controllertest.OnBox {
		local = controllertest.New(t, controllertest.OnBox)
		local.NoController = true
	}
	b.write("zt/zerotier-one.port", mustURL(t, local.URL).Port())
	b.write("zt/authtoken.secret", controllertest.Token)
	b.write("ztbridge.yaml", "zerotier:\n  home: zt\n  networks: ["+networks+"]\n")
	b.page, b.served = served(t, of)
	b.page.config.Log = slog.New(slog.NewTextHandler(&b.logged, nil))
	b.page.audit.log = b.page.config.Log
	state := filepath.Join(b.dir, "state")
	b.page.config.Tools = Tools{
		Network: func(ctx context.Context, o NetworkOptions) (Network, error) {
			return network.Open(ctx, network.Options{Token: o.Token, Network: o.ID, StateDir: state,
				ConfigPath: filepath.Join(b.dir, "ztbridge.yaml"), CentralV1: b.controller.URL,
				CentralV2: b.controller.URL, Configure: b.configure})
		},
		ForgetToken: func() error { return network.ForgetToken(state) },
	}
	return b
}

func (b *planBox) configure(_ context.Context, id string) (bool, error) {
	if b.byHand {
		return false, config.ErrByHand
	}
	return config.AddNetwork(filepath.Join(b.dir, "ztbridge.yaml"), id)
}

func (b *planBox) write(name, text string) {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
}

// secretless fails where the token can be read that is nobody's business.
func (b *planBox) secretless(where, text string) {
	b.t.Helper()
	if strings.Contains(text, controllertest.Token) {
		b.t.Errorf("%s has the token:\n%s", where, text)
	}
}

// usual gives the controller a network with routes of a person's own, and members.
func (b *planBox) usual(kind controllertest.API) {
	pools, mode := "ipAssignmentPools", "v4AssignMode"
	if kind == controllertest.V2 {
		pools, mode = "v4IpAssignmentPools", "v4AssignmentMode"
	}
	b.controller.AddNetwork(plannedNetwork, "home", `{"routes":[
		{"target":"10.147.17.0/24","via":null},{"target":"192.168.7.0/24","via":"10.147.17.7"}],
		"`+pools+`":[{"ipRangeStart":"10.147.17.1","ipRangeEnd":"10.147.17.254"}],
		"`+mode+`":{"zt":true}}`)
	b.controller.AddMember(plannedNetwork, "0000000001", "laptop", true, "10.147.17.1")
}

// TestNetworkIsSetUpInBrowser: a token is typed, the plan is read, carried out by a button, and
// taken back exactly; the token is in no page, no log, and in one file that its owner reads.
func TestNetworkIsSetUpInBrowser(t *testing.T) {
	t.Parallel()
	for _, kind := range []controllertest.API{controllertest.V1, controllertest.V2} {
		t.Run(string(kind), func(t *testing.T) {
			b := newPlanBox(t, kind, plannedNetwork)
			b.usual(kind)
			before := b.controller.State()
			seen := browsertest.New(t, browsertest.Options{Allowed: []string{"422"}})
			seen.Login(b.served.URL, ownerPassword)
			seen.Open(b.served.URL + "/network")
			seen.Click("#to-plan")
			seen.WaitFor(`document.querySelector("#steps").textContent.includes("375530c131")`)
			seen.Type("#key", "not-the-right-one\n")
			seen.WaitFor(`document.querySelector("#fault").textContent.includes("not accepted")`)
			if text := seen.Text("#fault"); strings.Contains(text, "--token-file") ||
				strings.Contains(text, "not-the-right-one") {
				t.Errorf("the page says %q", text)
			}
			seen.Type("#key", controllertest.Token+"\n")
			seen.WaitFor(`document.querySelector("#plan").textContent.includes("192.168.7.0/24")`)
			plan := seen.Text("#plan")
			for _, want := range []string{"let this box into the network",
				"route 0.0.0.0/0 via 10.147.17.2", "192.168.7.0/24 via 10.147.17.7 stays"} {
				if !strings.Contains(plan, want) {
					t.Errorf("the plan lacks %q:\n%s", want, plan)
				}
			}
			if b.controller.State() != before {
				t.Errorf("looking at the plan changed something:\n%s", b.controller.State())
			}
			seen.Click("#apply")
			seen.WaitFor(`document.querySelector("#nothing")`)
			if !strings.Contains(b.controller.State(), "target:0.0.0.0/0 via:10.147.17.2") {
				t.Errorf("the controller has:\n%s", b.controller.State())
			}
			b.secretless("the page", seen.Text("html"))
			seen.Open(b.served.URL + "/network")
			seen.WaitFor(`document.querySelector(".rows").textContent.includes("laptop")`)
			seen.Open(b.served.URL + teardownPage)
			seen.Click("#apply")
			seen.WaitFor(`document.querySelector("h1").textContent.includes("is taken back")`)
			after := strings.Replace(b.controller.State(),
				"  member 375530c131 {Name: Authorized:false Addrs:[]}\n", "", 1) // v2 keeps it
			if after != before {
				t.Errorf("left behind:\n%s\nwant:\n%s", after, before)
			}
			file := filepath.Join(b.dir, "state/zerotier-token")
			info, err := os.Stat(file)
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the token's file: %v, %v", info, err)
			}
			seen.Open(b.served.URL + planPage)
			seen.ClickAndAnswer("#forget", true)
			seen.See("#key")
			if _, err := os.Stat(file); !os.IsNotExist(err) {
				t.Errorf("the token is still there: %v", err)
			}
			b.secretless("the log", b.logged.String())
			b.secretless("the log of actions", mustRead(t, filepath.Join(b.page.config.Dir, auditFile)))
		})
	}
}

// TestNetworkIsMadeByThePage at the box's own controller, without a token, and the configuration
// names it then.
func TestNetworkIsMadeByThePage(t *testing.T) {
	b := newPlanBox(t, controllertest.OnBox, "your-16-digit-network-id")
	v := visit(t, b.served.URL)
	token := v.as("owner")
	_, body := v.ask(http.MethodGet, planPage, nil)
	if !strings.Contains(body, "New network") || !strings.Contains(body, "the controller on this box") {
		t.Fatalf("the page says:\n%s", body)
	}
	response, body := v.ask(http.MethodPost, planPage, url.Values{"token": {token},
		"stamp": {stampIn(t, body)}})
	if response.StatusCode != http.StatusSeeOther {
		t.Fatalf("%d:\n%s", response.StatusCode, body)
	}
	text := mustRead(t, filepath.Join(b.dir, "ztbridge.yaml"))
	if !strings.Contains(text, "networks: ["+controllertest.Node+"000001]") {
		t.Errorf("the configuration is:\n%s", text)
	}
	if state := b.controller.State(); !strings.Contains(state, "target:0.0.0.0/0") {
		t.Errorf("the controller has:\n%s", state)
	}
	// A token is not needed, and not kept.
	response, body = v.ask(http.MethodPost, tokenPath, url.Values{"token": {token},
		"key": {"some-token"}})
	if response.StatusCode != http.StatusUnprocessableEntity ||
		!strings.Contains(body, "No token is needed") && !strings.Contains(body, "no token is needed") {
		t.Errorf("%d:\n%s", response.StatusCode, body)
	}
}

func stampIn(t *testing.T, body string) string {
	t.Helper()
	_, rest, ok := strings.Cut(body, `name="stamp" value="`)
	if !ok {
		t.Fatalf("there is no plan in:\n%s", body)
	}
	stamp, _, _ := strings.Cut(rest, `"`)
	return stamp
}

// TestPlanIsWhatWasShown: what has changed in between is shown first.
func TestPlanIsWhatWasShown(t *testing.T) {
	b := newPlanBox(t, controllertest.V1, plannedNetwork)
	b.usual(controllertest.V1)
	b.write("state/zerotier-token", controllertest.Token+"\n")
	v := visit(t, b.served.URL)
	token := v.as("owner")
	_, body := v.ask(http.MethodGet, planPage, nil)
	form := url.Values{"token": {token}, "stamp": {stampIn(t, body)}}
	b.controller.AddMember(plannedNetwork, "0000000003", "tv", true, "10.147.17.2")
	now := b.controller.State()
	response, body := v.ask(http.MethodPost, planPage, form)
	if response.StatusCode != http.StatusUnprocessableEntity || b.controller.State() != now ||
		!strings.Contains(body, "10.147.17.3") {
		t.Fatalf("%d:\n%s", response.StatusCode, body)
	}
	form.Set("stamp", stampIn(t, body))
	b.byHand = true
	response, body = v.ask(http.MethodPost, planPage, form)
	if response.StatusCode != http.StatusOK ||
		!strings.Contains(body, "cannot be changed from here") {
		t.Errorf("%d:\n%s", response.StatusCode, body)
	}
	if b.controller.State() == now {
		t.Error("the plan is not carried out")
	}
}

// TestNetworkIsChosenOnThePage where the controller has several, and a default route of another
// member's is replaced only where the person says so.
func TestNetworkIsChosenOnThePage(t *testing.T) {
	t.Parallel()
	b := newPlanBox(t, controllertest.V1, "")
	b.usual(controllertest.V1)
	b.controller.AddNetwork("a1b2c3d4e5000002", `"</select><b>`, `{"v4AssignMode":{"zt":true},
		"routes":[{"target":"10.9.9.0/24","via":null},{"target":"0.0.0.0/0","via":"10.9.9.9"}]}`)
	b.controller.AddMember("a1b2c3d4e5000002", "0000000004", "gateway", true, "10.9.9.9")
	b.write("state/zerotier-token", controllertest.Token+"\n")
	seen := browsertest.New(t, browsertest.Options{})
	seen.Login(b.served.URL, ownerPassword)
	seen.Open(b.served.URL + planPage)
	seen.Type("#network", `"`)
	seen.Click("#which-network button")
	seen.WaitFor(`document.querySelector("#fault").textContent.includes("tick")`)
	seen.Click("#conflict [name=takeover]")
	seen.Click("#conflict button")
	seen.WaitFor(`document.querySelector("#plan").textContent.includes("0.0.0.0/0 via 10.9.9.9")`)
	seen.WaitFor(`document.querySelector("[name=network]").value === "a1b2c3d4e5000002"`)
	if strings.Contains(b.controller.State(), "375530c131") {
		t.Errorf("something was changed:\n%s", b.controller.State())
	}
}

// TestPlansAreTheOwners alone, and by the page's own forms.
func TestPlansAreTheOwners(t *testing.T) {
	for _, who := range []string{"nobody", "viewer", "owner"} {
		b := newPlanBox(t, controllertest.V1, plannedNetwork)
		b.usual(controllertest.V1)
		b.write("state/zerotier-token", controllertest.Token+"\n")
		before := b.controller.State()
		v := visit(t, b.served.URL)
		token := v.as(who)
		for _, a := range []action{
			{http.MethodGet, planPage, nil, answers(303, 403, 200)},
			{http.MethodGet, teardownPage, nil, answers(303, 403, 200)},
			{http.MethodPost, planPage, nil, answers(401, 403, 422)},
			{http.MethodPost, teardownPage, nil, answers(401, 403, 422)},
			{http.MethodPost, tokenPath, nil, answers(401, 403, 422)},
		} {
			response, body := v.ask(a.method, a.path, url.Values{"token": {token}})
			if response.StatusCode != a.want[who] {
				t.Errorf("%s: %s %s: %d, want %d:\n%s", who, a.method, a.path, response.StatusCode,
					a.want[who], body)
			}
			if a.method == http.MethodGet {
				continue
			}
			for _, path := range []string{a.path, tokenPath + "/forget"} {
				for name, edit := range foreign {
					form := url.Values{"token": {token}, "key": {"x"}}
					if response, _ := v.ask(a.method, path, form, edit); response.StatusCode < 400 {
						t.Errorf("%s, %s: POST %s: %d", who, name, path, response.StatusCode)
					}
				}
				if response, _ := v.ask(a.method, path, nil); response.StatusCode < 400 ||
					response.StatusCode == 422 {
					t.Errorf("%s: POST %s without a form's token: %d", who, path,
						response.StatusCode)
				}
			}
		}
		if b.controller.State() != before {
			t.Errorf("%s has changed the network:\n%s", who, b.controller.State())
		}
		if _, err := os.Stat(filepath.Join(b.dir, "state/zerotier-token")); err != nil {
			t.Errorf("%s: the token: %v", who, err)
		}
	}
}
