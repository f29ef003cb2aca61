package e2e

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
	"ztbridge/bridge/sealed"
	"ztbridge/policyroute/netlab"
)

// owner is the owner's browser, on a host of the lab.
type owner struct {
	t      *testing.T
	base   string
	client *http.Client
	token  string
}

// logIn logs in at the page, as seen from a host.
func logIn(t *testing.T, from *netlab.Namespace, base, password string) *owner {
	t.Helper()
	jar, err := cookiejar.New(nil)
	must(t, err)
	o := &owner{t: t, base: base, client: &http.Client{Jar: jar, Timeout: waitTimeout,
		Transport: &http.Transport{DialContext: func(ctx context.Context, network, a string) (
			net.Conn, error) {
			return from.Dial(ctx, network, a)
		}}}}
	page := o.post("/login", url.Values{"password": {password}})
	token := regexp.MustCompile(`name="token" value="([^"]+)"`).FindStringSubmatch(page)
	if token == nil {
		t.Fatalf("not logged in:\n%s", page)
	}
	o.token = token[1]
	return o
}

func (o *owner) post(path string, form url.Values) string {
	o.t.Helper()
	form.Set("token", o.token)
	answer, err := o.client.PostForm(o.base+path, form)
	return o.read(path, answer, err)
}

func (o *owner) get(path string) string {
	o.t.Helper()
	answer, err := o.client.Get(o.base + path)
	return o.read(path, answer, err)
}

func (o *owner) read(path string, answer *http.Response, err error) string {
	o.t.Helper()
	must(o.t, err)
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	must(o.t, err)
	if answer.StatusCode/100 != 2 {
		o.t.Fatalf("%s: %s\n%s", path, answer.Status, text)
	}
	return string(text)
}

// TestClientFromThePage: the owner, on a laptop behind the endpoint, adds a phone on the page. The
// profile that the page gives connects; once revoked there, it is refused.
func TestClientFromThePage(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("ztbridge.yaml", duoConfig+"page: {}\n")
	password := strings.TrimSpace(b.mustRun("page", "password"))
	heard := systemd(t, filepath.Join(b.dir, "notify"))
	b.env = []string{"NOTIFY_SOCKET=" + filepath.Join(b.dir, "notify")}
	leaks := watchGuests(t, top)
	b.start()
	b.awaitEgress("provider")
	laptop := newGuest(t, top, b, "laptop", "udp")
	owner := logIn(t, laptop.ns, "http://10.83.64.1", password)

	added := owner.post("/clients/add", url.Values{"name": {"phone"}})
	profile := owner.get("/clients/phone/profile")
	link := regexp.MustCompile(`https://198\.51\.100\.2/[\w-]{43}`).FindString(added)
	if got := download(t, top.Internet, link); got.body != profile ||
		!strings.Contains(added, got.fingerprint) {
		t.Errorf("the link gives %d bytes, and the page %d; certificate %s", len(got.body),
			len(profile), got.fingerprint)
	}

	site, err := top.AddSite("phone")
	must(t, err)
	phone := &guest{t: t, name: "phone", ns: site.NS}
	phone.start(onlyBy("udp", profile))
	st := b.await("the phone", func(st api.Status) bool {
		return slices.ContainsFunc(st.Clients, isPhone)
	})
	phone.addr4 = st.Clients[slices.IndexFunc(st.Clients, isPhone)].Addresses[0]
	await(t, "the phone's tunnel", func() bool {
		return strings.Contains(phone.proc.Log(), "Initialization Sequence Completed")
	})
	stream := phone.stream(lab.UDP, targetOf(lab.ClientTarget4), 50, top.Marker)
	awaitAnswers(t, stream, 20)
	if list := owner.get("/clients"); !strings.Contains(list, phone.addr4.String()) ||
		strings.Count(list, "→ provider") != 2 {
		t.Errorf("the list does not show where both go:\n%s", list)
	}

	owner.post("/clients/revoke", url.Values{"client": {"phone"}})
	b.await("the end of the phone's session", func(st api.Status) bool {
		return !slices.ContainsFunc(st.Clients, isPhone)
	})
	onlySeenAs(t, "the phone", stream, top.Providers[0].Public4[0])
	await(t, "the server's word to the phone", func() bool {
		return strings.Contains(phone.proc.Log(), "this profile was revoked")
	})
	phone.options = []string{"--hand-window", "5"} // seconds until it says that nobody answers
	phone.start(phone.profile)
	await(t, "a refusal", func() bool { return strings.Contains(phone.proc.Log(), "TLS Error") })
	if st, err := b.status(); err != nil || slices.ContainsFunc(st.Clients, isPhone) ||
		strings.Contains(phone.proc.Log(), "Initialization Sequence Completed") {
		t.Errorf("a revoked client is let in: %+v, %v", st.Clients, err)
	}

	// What the daemon's own rights are enough for, though it is not root.
	bundle := owner.post("/maintenance/support", url.Values{})
	if !strings.HasPrefix(bundle, "PK") || strings.Contains(bundle, "PRIVATE KEY") {
		t.Errorf("the support bundle is %.300q", bundle)
	}
	box := owner.post("/maintenance/backup", url.Values{"passphrase": {"nine tall giraffes"},
		"again": {"nine tall giraffes"}})
	if !strings.HasPrefix(box, "age-encryption.org/v1\n") {
		t.Errorf("the backup is %.300q", box)
	}
	content, err := sealed.Open(strings.NewReader(box), "nine tall giraffes")
	must(t, err)
	if all, err := io.ReadAll(content); err != nil || !strings.Contains(string(all), duoConfig) {
		t.Errorf("the backup has %d bytes, %v", len(all), err)
	}
	for _, trace := range []string{b.daemon.Log(), owner.get("/activity")} {
		if strings.Contains(trace, "PRIVATE KEY") || strings.Contains(trace, link) {
			t.Error("a log has a key or a link")
		}
	}

	// systemd would start it again.
	owner.post("/maintenance/restart", url.Values{})
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	must(t, b.daemon.Wait(ctx))
	await(t, "its word to systemd", func() bool { return heard("STOPPING=1") == 1 })
	noLeak(t, leaks)
}

func isPhone(c api.Client) bool { return c.Name == "phone" }
