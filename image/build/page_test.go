package build

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
)

// pageConfig has a page, an endpoint whose clients it manages, and a provider.
const pageConfig = `page: {}
ingress: [` + lab.IngressIface + `]
egress:
  provider: {openvpn: {profile: provider.ovpn, credentials: provider.auth}}
policy:
  - {egress: [provider]}
endpoint: {address: 198.51.100.2, listen: [tcp/443]}
`

// The page does its work as the service that systemd starts: with the user, the capabilities, the
// file system and the system calls of its unit, which the suites of the program alone do not have.
func TestPageAsAService(t *testing.T) {
	archive := os.Getenv("ZTBRIDGE_ROOT_TAR")
	if archive == "" {
		t.Skip("SKIPPED: needs ZTBRIDGE_ROOT_TAR, the archive of a Debian that ztbridge-image " +
			"build has cached")
	}
	r, box := containerRig(t, archive, lab.Options{})
	tool(t, "cp", packageOf(t, "../..", "1.0.0"), filepath.Join(box.dir, "root/ztbridge.deb"))
	box.put("etc/ztbridge/ztbridge.yaml", pageConfig, 0o600)
	box.put("etc/ztbridge/provider.ovpn", r.lab.Providers[0].Config(), 0o600)
	box.put("etc/ztbridge/provider.auth", customer.User+"\n"+customer.Password+"\n", 0o600)
	box.start(r.lab.Box)
	r.mustSSH("dpkg -i /root/ztbridge.deb && systemctl enable --now " +
		"ztbridge-guard.service ztbridge.service")
	r.startStreams()
	r.awaitFlow("the installation")

	p := r.openPage()
	p.claim(strings.TrimSpace(r.mustSSH("ztbridge page code --open")))
	if body := p.post("/clients/add", url.Values{"name": {"phone"}}); !strings.Contains(body,
		"phone is added") {
		t.Errorf("adding a client: %s", body)
	}
	if body := p.get("/clients/phone/profile"); !strings.Contains(body, "<key>") {
		t.Errorf("a client's profile: %s", body)
	}
	p.post("/clients/revoke", url.Values{"client": {"phone"}})
	if list := r.mustSSH("ztbridge client list"); !strings.Contains(list, "revoked") {
		t.Errorf("after a client was revoked: %s", list)
	}
	const passphrase = "nine tall giraffes"
	if body := p.post("/maintenance/backup", url.Values{"passphrase": {passphrase},
		"again": {passphrase}}); !strings.HasPrefix(body, "age-encryption.org/") {
		t.Errorf("a backup: %.400s", body)
	}
	if body := p.post("/maintenance/support", nil); !strings.HasPrefix(body, "PK") {
		t.Errorf("a support bundle: %.400s", body)
	}
	r.importProfile(box)
	r.awaitFlow("another profile of the provider")

	before := strings.TrimSpace(r.mustSSH("systemctl show -p MainPID ztbridge"))
	p.post("/maintenance/restart", nil)
	r.await("now=$(systemctl show -p MainPID ztbridge); systemctl is-active ztbridge && "+
		`[ "$now" != "`+before+`" ] && echo another`, "another")
	r.awaitFlow("a restart from the page")
	r.startAgain()
	if log := r.mustSSH("journalctl --no-pager -o cat -u ztbridge -u 'ztbridge-import@*'"); strings.
		Contains(log, customer.Password) || strings.Contains(log, passphrase) {
		t.Errorf("the log holds a secret:\n%s", log)
	}
	r.finish()
}

// startAgain starts both units as the machine's next start does, when directories belong to the
// daemon's user already, with a configuration that belongs to whoever copied it. The rules stay, so
// that nothing leaks meanwhile.
func (r *rig) startAgain() {
	r.t.Helper()
	r.mustSSH("systemctl stop ztbridge ztbridge-guard; nft delete table inet ztb; rm -r /run/ztbridge" +
		"; chown nobody /etc/ztbridge/ztbridge.yaml; rm /var/lib/ztbridge/ingresses.json")
	if _, err := r.ssh("systemctl start ztbridge-guard"); err != nil {
		r.t.Errorf("the guard: %v\n%s", err,
			r.mustSSH("journalctl --no-pager -o cat -n 5 -u ztbridge-guard"))
	}
	if table := r.mustSSH("nft list table inet ztb"); !strings.Contains(table, lab.IngressIface) {
		r.t.Errorf("the guard does not know the ingress:\n%s", table)
	}
	r.mustSSH("systemctl start ztbridge")
	r.awaitFlow("the next start")
	r.mustSSH("systemctl restart ztbridge-guard && ! journalctl -u ztbridge-guard | grep WARN")
	if owners := r.mustSSH("stat -c %U /var/lib/ztbridge /run/ztbridge/*.sock | sort -u"); owners !=
		"ztbridge\n" {
		r.t.Errorf("after another start of the guard the daemon's files belong to %s", owners)
	}
}

// importProfile has the service of the page's uploads refuse a profile, and put another in force.
func (r *rig) importProfile(box *container) {
	r.t.Helper()
	socket := fmt.Sprintf("/proc/%d/root%s", box.init, api.ImportSocket("/run/ztbridge"))
	said := ""
	do := func(verb api.ImportVerb, password string) error {
		said = ""
		profile := r.lab.Providers[0].Config()
		ctx, cancel := context.WithTimeout(r.t.Context(), 2*time.Minute)
		defer cancel()
		return api.Import(ctx, socket,
			api.ImportRequest{Verb: verb, Egress: "provider", Replace: true,
				File: "new.ovpn", Size: int64(len(profile)), Username: customer.User,
				Password: password},
			strings.NewReader(profile), func(p api.Progress) { said += p.Text + "\n" })
	}
	if err := do(api.ImportTry, "wrong"); err == nil {
		r.t.Error("a profile with a wrong password was found good")
	}
	// Nothing listens for TCP at the address that a trial connects to, which it tells as a fault.
	err := do(api.ImportTry, customer.Password)
	for _, want := range []string{"connected", "resolver", "1.1.1.1", "2606:4700:4700::1111"} {
		if !strings.Contains(said, want) || strings.Contains(said, "echo       1.1.1.1 failed") {
			r.t.Errorf("a trial says no %s: %v\n%s", want, err, said)
		}
	}
	if err := do(api.ImportReplace, customer.Password); err != nil {
		r.t.Errorf("%v (%s)\n%s", err, api.Hint(err),
			r.mustSSH("journalctl --no-pager -o cat -u 'ztbridge-import@*'"))
	}
	if text := r.mustSSH("cat /etc/ztbridge/ztbridge.yaml"); !strings.Contains(text, "profiles/") {
		r.t.Errorf("the configuration does not name the new profile:\n%s", text)
	}
}

// pageVisitor is a browser without a screen on the side of the devices.
type pageVisitor struct {
	t      *testing.T
	base   string
	client http.Client
}

func (r *rig) openPage() *pageVisitor {
	jar, err := cookiejar.New(nil)
	must(r.t, err)
	return &pageVisitor{r.t, "http://10.77.0.1", http.Client{Jar: jar, Timeout: time.Minute,
		Transport: &http.Transport{DialContext: func(ctx context.Context, network,
			address string) (net.Conn, error) {
			return r.lab.Client.Dial(ctx, network, address)
		}}}}
}

func (v *pageVisitor) get(path string) string {
	v.t.Helper()
	response, err := v.client.Get(v.base + path)
	must(v.t, err)
	return v.body(response)
}

func (v *pageVisitor) body(response *http.Response) string {
	v.t.Helper()
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	must(v.t, err)
	if response.StatusCode/100 != 2 {
		v.t.Errorf("%s: %s: %.400s", response.Request.URL, response.Status, body)
	}
	return string(body)
}

// claim makes the first password, by which it is logged in.
func (v *pageVisitor) claim(code string) {
	v.t.Helper()
	const password = "of nobody else"
	v.send("/claim", url.Values{"code": {code}, "password": {password}, "again": {password}})
}

// post sends a form of the page.
func (v *pageVisitor) post(path string, form url.Values) string {
	v.t.Helper()
	m := regexp.MustCompile(`name="token" value="([^"]+)"`).FindStringSubmatch(v.get("/"))
	if m == nil {
		v.t.Fatal("the page has no form")
	}
	sent := url.Values{"token": {m[1]}}
	for name, values := range form {
		sent[name] = values
	}
	return v.send(path, sent)
}

func (v *pageVisitor) send(path string, form url.Values) string {
	v.t.Helper()
	request, err := http.NewRequestWithContext(v.t.Context(), http.MethodPost, v.base+path,
		bytes.NewReader([]byte(form.Encode())))
	must(v.t, err)
	request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	request.Header.Set("Origin", v.base)
	response, err := v.client.Do(request)
	must(v.t, err)
	return v.body(response)
}
