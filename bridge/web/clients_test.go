package web

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"ztbridge/bridge/api"
	"ztbridge/bridge/clients"
	"ztbridge/bridge/config"
	"ztbridge/bridge/pki"
	"ztbridge/bridge/web/browsertest"
)

// rosterConfig has an endpoint.
const rosterConfig = `
zerotier: {networks: [abcdef0123000001]}
egress: {direct: {wan: {}}}
policy: [{from: [zerotier, endpoint], egress: [direct]}]
endpoint: {address: vm.example.org}
`

// newRoster returns a real key store with some clients.
func newRoster(t *testing.T, names ...string) *clients.Roster {
	t.Helper()
	dir := t.TempDir()
	path := filepath.Join(dir, "ztbridge.yaml")
	if err := os.WriteFile(path, []byte(rosterConfig), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := config.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	roster, err := clients.Open(cfg, clients.Keys(dir))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if _, err := roster.Add(clients.Request{Name: name}); err != nil {
			t.Fatal(err)
		}
	}
	return roster
}

// withClients has a page serve a roster.
func withClients(s *Server, roster *clients.Roster) {
	s.config.Clients = func() (*clients.Roster, error) { return roster, nil }
}

// linkToken is the secret of the links that box gives out.
const linkToken = "5mUQbgpYq6mXv0Jt3nJx9cKk1Wc3bUe0o0Zr8qkq2xA"

// Link implements api.EndpointBackend. The endpoint's certificate is the authority's but for one
// client, and another one has no link.
func (b *box) Link(_ context.Context, r api.LinkRequest) (api.Link, error) {
	const at = "https://vm.example.org/" + linkToken
	l := api.Link{URL: at, Import: "openvpn://import-profile/" + at,
		Expires: time.Now().Add(10 * time.Minute)}
	switch r.Client {
	case "selfsigned":
		l.Fingerprint = strings.Repeat("0f", 32)
	case "nolink":
		return api.Link{}, &api.HintedError{Err: fmt.Errorf("the endpoint serves no web pages"),
			Hint: "links need a TCP listener"}
	}
	return l, b.note("link " + r.Client)
}

// readCode reads the QR code of a page as a camera does.
func readCode(t *testing.T, picture []byte) string {
	t.Helper()
	camera, err := exec.LookPath("zbarimg")
	if err != nil {
		t.Skip("SKIPPED: it needs the program zbarimg (Debian: zbar-tools)")
	}
	cmd := exec.CommandContext(t.Context(), camera, "--nodbus", "--quiet", "--raw", "--set",
		"*.disable", "--set", "qrcode.enable", "-")
	cmd.Stdin = bytes.NewReader(picture)
	read, err := cmd.Output()
	if err != nil {
		t.Fatalf("no code is seen: %v", err)
	}
	return strings.TrimSuffix(string(read), "\n")
}

// TestClientsByKeyboard adds a client by the keyboard alone, has a camera read the code from the
// screen, in light and dark, downloads the profile, and revokes the client after a question.
func TestClientsByKeyboard(t *testing.T) {
	t.Parallel()
	of := &box{}
	of.set(working())
	s, server := served(t, of)
	roster := newRoster(t, "laptop")
	withClients(s, roster)
	b := browsertest.New(t, browsertest.Options{Allowed: []string{"422"}})
	b.Login(server.URL, ownerPassword)
	b.Click(`nav a[href="/clients"]`)
	b.WaitFor(`document.querySelector("#list").textContent.includes("by udp/1194")`)
	b.Type("#name", "phone of ann\r")
	b.WaitFor(`document.querySelector("#fault").textContent.includes("letters, digits")`)
	b.WaitFor(`document.activeElement.id == "name" && document.activeElement.value == "phone of ann"`)
	b.WaitFor(`(document.activeElement.select(), true)`) // what is typed takes its place
	b.Type("#name", "phone\r")
	b.WaitFor(`document.querySelector("h1").textContent == "phone is added" && ` +
		`document.querySelector("#code").naturalWidth > 0`)
	const importLink = "openvpn://import-profile/https://vm.example.org/" + linkToken
	for _, screen := range screens {
		b.Do(screen.use()...)
		picture := browsertest.Get(b, chromedp.FullScreenshot(100))
		if read := readCode(t, picture); read != importLink {
			t.Errorf("%s: the code says %q", screen.name, read)
		}
	}
	text := b.Text("main")
	for _, want := range []string{"Leave user name and password empty", "OpenVPN Connect",
		"Works once, for 10 minutes", "https://vm.example.org/" + linkToken} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q:\n%s", want, text)
		}
	}
	if strings.Contains(text, "not encrypted") {
		t.Error("a device behind an ingress is warned of its neighbours")
	}
	b.Do(chromedp.Focus(chromedp.CSS(`main a[href="/clients"]`)))
	b.Type(`main a[href="/clients"]`, "\r")
	b.See("#list")
	revoke := `form[action="/clients/revoke"]:has([value=phone]) button`
	b.ClickAndAnswer(revoke, false)
	b.WaitFor(`document.querySelector("#list").textContent.includes("phone")`)
	if list, err := roster.List(); err != nil || list[1].Revoked != nil {
		t.Errorf("revoked although the question was answered by no: %v, %v", list, err)
	}
	b.ClickAndAnswer(revoke, true)
	b.WaitFor(`document.querySelector("#list").textContent.includes("Revoked")`)
	if list, err := roster.List(); err != nil || list[1].Revoked == nil {
		t.Errorf("not revoked: %v, %v", list, err)
	}
}

// TestProfileFromThePage is the one that the command line prints, for the owner alone; nothing that
// opens something is kept by browsers, in an address, or in a log.
func TestProfileFromThePage(t *testing.T) {
	t.Parallel()
	of := &box{}
	of.set(working())
	s, server := served(t, of)
	roster := newRoster(t, "laptop", "selfsigned", "nolink")
	withClients(s, roster)
	v := visit(t, server.URL)
	v.login(ownerPassword)
	want, _, err := roster.Profile("laptop", false)
	if err != nil {
		t.Fatal(err)
	}
	for _, method := range []string{http.MethodGet, http.MethodGet} { // some browsers ask twice
		response, body := v.ask(method, "/clients/laptop/profile", nil)
		if body != string(want) || response.Header.Get("Cache-Control") != "no-store" ||
			response.Header.Get("Content-Disposition") != `attachment; filename="laptop.ovpn"` {
			t.Errorf("got %d bytes, %v", len(body), response.Header)
		}
	}
	link := func(name string) string {
		response, body := v.ask(http.MethodPost, "/clients/link",
			url.Values{"token": {v.token()}, "client": {name}})
		if response.StatusCode != http.StatusOK ||
			response.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("a link for %s: %d, %v", name, response.StatusCode, response.Header)
		}
		return body
	}
	body := link("selfsigned")
	code := regexp.MustCompile(`data:image/png;base64,([^"]+)"`).FindStringSubmatch(body)
	if code == nil || !strings.Contains(body, strings.Repeat("0f", 32)) {
		t.Fatalf("no code, or no fingerprint:\n%s", body)
	}
	picture, err := base64.StdEncoding.DecodeString(strings.ReplaceAll(code[1], "&#43;", "+"))
	if err != nil {
		t.Fatal(err)
	}
	if read := readCode(t, picture); read != "https://vm.example.org/"+linkToken {
		t.Errorf("the code says %q, which is no link for a browser", read)
	}
	if body := link("nolink"); !strings.Contains(body, "Links need a TCP listener") ||
		!strings.Contains(body, "/clients/nolink/profile") {
		t.Errorf("without a link:\n%s", body)
	}
	if strings.Contains(body, "PRIVATE KEY") {
		t.Error("a page shows a key")
	}
	for name, change := range map[string]func(*api.Status){
		"the uplink": func(s *api.Status) { s.WAN.Addresses = addrs("127.0.0.1") },
		"an interface": func(s *api.Status) {
			s.Ingresses = append(s.Ingresses, api.Ingress{Name: "lan", Kind: "interface",
				Addresses: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/8")}})
		},
	} {
		status := working()
		change(&status)
		of.set(status)
		if body := link("laptop"); !strings.Contains(body, "not encrypted on your local network") {
			t.Errorf("who comes by %s is not warned of neighbours", name)
		}
	}
	log, err := os.ReadFile(filepath.Join(s.config.Dir, auditFile))
	if err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{linkToken, "PRIVATE KEY", v.token()} {
		if strings.Contains(string(log), secret) {
			t.Errorf("the log has %q", secret)
		}
	}
	for _, did := range []string{`download the profile of \"laptop\"`,
		`make a link to the profile of \"selfsigned\"`} {
		if !strings.Contains(string(log), did) {
			t.Errorf("the log does not tell of %s:\n%s", did, log)
		}
	}
}

// TestClientsRoles: a viewer sees who there is, and gets nothing that opens something.
func TestClientsRoles(t *testing.T) {
	t.Parallel()
	for _, who := range []string{"nobody", "viewer", "owner"} {
		of := &box{}
		of.set(working())
		s, server := served(t, of)
		roster := newRoster(t, "phone", "laptop")
		withClients(s, roster)
		v := visit(t, server.URL)
		token := v.as(who)
		if who == "owner" {
			for name, edit := range foreign {
				for _, path := range []string{"add", "link", "revoke"} {
					response, _ := v.ask(http.MethodPost, "/clients/"+path, url.Values{
						"token": {token}, "client": {"phone"}, "name": {"evil"}}, edit)
					if response.StatusCode < 400 {
						t.Errorf("%s, %s: %d", path, name, response.StatusCode)
					}
				}
			}
			response, _ := v.ask(http.MethodPost, "/clients/revoke",
				url.Values{"token": {"x"}, "client": {"phone"}})
			if response.StatusCode != http.StatusForbidden {
				t.Errorf("a wrong token: %d", response.StatusCode)
			}
		}
		for _, a := range []action{
			{http.MethodGet, "/clients", nil, answers(303, 200, 200)},
			{http.MethodGet, "/clients/phone/profile", nil, answers(303, 403, 200)},
			{http.MethodHead, "/clients/phone/profile", nil, answers(401, 403, 200)},
			{http.MethodGet, "/clients/nobody/profile", nil, answers(303, 403, 404)},
			{http.MethodGet, "/clients/..%2f..%2fca.pem/profile", nil, answers(303, 403, 404)},
			{http.MethodPost, "/clients/add", map[string]string{"name": "new"}, answers(401, 403, 200)},
			{http.MethodPost, "/clients/add", map[string]string{"name": "new"}, answers(401, 403, 422)},
			{http.MethodPost, "/clients/add", map[string]string{"name": "<b>"}, answers(401, 403, 422)},
			{http.MethodPost, "/clients/add", nil, answers(401, 403, 422)},
			{http.MethodPost, "/clients/link", map[string]string{"client": "phone"},
				answers(401, 403, 200)},
			{http.MethodPost, "/clients/link", map[string]string{"client": "nobody"},
				answers(401, 403, 404)},
			{http.MethodPost, "/clients/revoke", map[string]string{"client": "phone"},
				answers(401, 403, 303)},
			{http.MethodPost, "/clients/revoke", map[string]string{"client": "phone"},
				answers(401, 403, 422)},
			{http.MethodGet, "/clients/phone/profile", nil, answers(303, 403, 500)},
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
			if who != "owner" && (strings.Contains(body, "PRIVATE KEY") ||
				strings.Contains(body, linkToken)) {
				t.Errorf("%s gets keys by %s", who, a.path)
			}
		}
		list, err := roster.List()
		if err != nil || (len(list) == 3) != (who == "owner") ||
			slices.ContainsFunc(list, func(c pki.Client) bool { return c.Revoked != nil }) !=
				(who == "owner") {
			t.Errorf("%s has made of them %v, %v", who, list, err)
		}
	}
}

// TestWithoutEndpoint there is no such page.
func TestWithoutEndpoint(t *testing.T) {
	t.Parallel()
	of := &box{}
	of.set(working())
	_, server := served(t, of)
	v := visit(t, server.URL)
	v.login(ownerPassword)
	if _, body := v.ask(http.MethodGet, "/", nil); strings.Contains(body, `href="/clients"`) {
		t.Error("the page of clients is offered")
	}
	response, body := v.ask(http.MethodGet, "/clients", nil)
	if response.StatusCode != http.StatusNotFound || !strings.Contains(body, "no endpoint") {
		t.Errorf("%d\n%s", response.StatusCode, body)
	}
}
