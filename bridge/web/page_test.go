package web

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"ztbridge/bridge/web/browsertest"
	"ztbridge/bridge/zerotier/controllertest"
)

// maxPage is what a browser loads in all for the first page, in bytes.
const maxPage = 150 << 10

func TestPageIsSmall(t *testing.T) {
	of := remembering()
	of.set(onBackup())
	_, server := served(t, of)
	v := visit(t, server.URL)
	v.login(ownerPassword)
	zipped := header("Accept-Encoding", "gzip") // the client leaves it as it is then
	all := 0
	paths := []string{"/", "/charts?span=month"}
	for _, a := range assets() {
		paths = append(paths, "/assets/"+a.name)
	}
	for _, path := range paths {
		response, body := v.ask("GET", path, nil, zipped)
		if response.StatusCode != 200 {
			t.Errorf("%s: %d", path, response.StatusCode)
		}
		all += len(body)
		plain, _ := v.ask("GET", path, nil, header("Accept-Encoding", "identity"))
		if plain.Header.Get("Content-Encoding") != "" {
			t.Errorf("%s is compressed for who cannot read it", path)
		}
	}
	t.Logf("%d bytes in all", all)
	if all > maxPage {
		t.Errorf("the page has %d bytes in all, more than %d", all, maxPage)
	}
}

// TestAssetsAreBuiltFromSource builds them again, where npm and the packages can be had.
func TestAssetsAreBuiltFromSource(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("npm"); err != nil {
		t.Skip("SKIPPED: npm is not installed")
	}
	lock, err := os.ReadFile("assets/package-lock.json")
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(lock), `"resolved"`) {
		t.Error("package-lock.json names a registry: npm install --omit-lockfile-registry-resolved")
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS("assets")); err != nil {
		t.Fatal(err)
	}
	for _, of := range []string{"dist", "node_modules"} {
		if err := os.RemoveAll(filepath.Join(dir, of)); err != nil {
			t.Fatal(err)
		}
	}
	install := exec.CommandContext(t.Context(), "npm", "ci", "--ignore-scripts", "--no-audit",
		"--no-fund", "--cache", t.TempDir())
	install.Dir = dir
	if out, err := install.CombinedOutput(); err != nil {
		t.Skipf("SKIPPED: the packages cannot be had: %v\n%s", err, out)
	}
	build := exec.CommandContext(t.Context(), "npm", "run", "build")
	build.Dir = dir
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("building: %v\n%s", err, out)
	}
	for _, entry := range mustReadDir(t, "assets/dist") {
		committed := mustRead(t, filepath.Join("assets/dist", entry))
		if built := mustRead(t, filepath.Join(dir, "dist", entry)); built != committed {
			t.Errorf("%s is not what its source gives: npm run build", entry)
		}
	}
	if built, committed := mustReadDir(t, filepath.Join(dir, "dist")),
		mustReadDir(t, "assets/dist"); len(built) != len(committed) {
		t.Errorf("built %v, committed %v", built, committed)
	}
	checkAccess(t, filepath.Join(dir, "node_modules/axe-core/axe.min.js"))
}

func mustReadDir(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func mustRead(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// axeTime bounds what axe does in one browser, beside other tests.
const axeTime = 5 * time.Minute

// checkAccess has axe look at each page, in light and dark, on a phone and on a desktop.
func checkAccess(t *testing.T, axe string) {
	t.Run("accessible", func(t *testing.T) {
		script := mustRead(t, axe)
		of := remembering()
		of.set(onBackup())
		device := laptop()
		device.Choice, device.Offers = "direct", append(device.Offers, "nosuch")
		of.recognise(device, nil)
		s, server := served(t, of)
		withClients(s, newRoster(t, "phone", "laptop"))
		(&fakeBox{network: someMembers()}).serve(s)
		_, fresh, _, _ := unclaimed(t, false)
		plan := newPlanBox(t, controllertest.V1, plannedNetwork)
		plan.usual(controllertest.V1)
		// A browser for each few pages: axe takes seconds for one on a busy machine.
		b := browsertest.New(t, browsertest.Options{Timeout: axeTime})
		for _, url := range []string{server.URL + "/device", server.URL + "/login",
			fresh.URL + "/login"} {
			b.Open(url)
			look(t, b, script, url)
		}
		for _, paths := range [][]string{{"/", "/activity", "/maintenance"},
			{"/network", "/profile", "/setup"}, {"/clients"}} {
			b := browsertest.New(t, browsertest.Options{Timeout: axeTime})
			b.Login(server.URL, ownerPassword)
			for _, path := range paths {
				b.Open(server.URL + path)
				look(t, b, script, path)
			}
			if paths[0] == "/network" {
				b.Login(plan.served.URL, ownerPassword)
				b.Open(plan.served.URL + planPage)
				look(t, b, script, "a network without a token")
				plan.write("state/zerotier-token", controllertest.Token+"\n")
				b.Open(plan.served.URL + planPage)
				look(t, b, script, "a plan")
			}
			if paths[0] == "/clients" {
				b.Click(`form[action^="/clients/link"] button`)
				b.See("#code")
				look(t, b, script, "a client's keys")
			}
		}
	})
}

// look has axe, a script, look at the page that a browser shows.
func look(t *testing.T, b *browsertest.Browser, axe, path string) {
	t.Helper()
	for _, on := range screens {
		b.Do(on.use()...)
		// The page's own policy lets no script in; the debugger may.
		run := axe + `;axe.run().then(r => JSON.stringify(r.violations.map(v =>
			[v.id, v.help, v.nodes.map(n => n.html)])))`
		found := browsertest.Get(b, chromedp.Evaluate[string](run, chromedp.EvalAwaitPromise))
		var violations []json.RawMessage
		if err := json.Unmarshal([]byte(found), &violations); err != nil {
			t.Fatal(err)
		}
		for _, one := range violations {
			t.Errorf("%s on %s: %s", path, on.name, one)
		}
	}
}

// TestFailoverIsSeen without a click; what has the focus keeps it.
func TestFailoverIsSeen(t *testing.T) {
	t.Parallel()
	of := &box{}
	of.set(working())
	_, server := served(t, of)
	b := browsertest.New(t, browsertest.Options{})
	b.Login(server.URL, viewerPassword)
	b.See(".verdict.is-good")
	began := time.Now()
	of.set(onBackup())
	b.WaitFor(`document.querySelector(".verdict.is-warn") && document.querySelector("#problems code")`)
	t.Logf("seen after %v", time.Since(began))
	text := b.Text("#live")
	for _, want := range []string{"Working, but on a backup exit.", "two probes unanswered",
		"Exit in use: backup", "config try"} {
		if !strings.Contains(text, want) {
			t.Errorf("the page does not say %q:\n%s", want, text)
		}
	}
	b.Do(chromedp.Focus(chromedp.CSS("#problems button")))
	worse := onBackup()
	worse.Summary = "Still on a backup exit."
	of.set(worse)
	b.WaitFor(`document.querySelector("h1").textContent.includes("Still")`)
	b.WaitFor(`document.activeElement.matches("#problems button")`)
}

// TestWrongPasswordInBrowser is told in words, and the field is there again.
func TestWrongPasswordInBrowser(t *testing.T) {
	t.Parallel()
	of := &box{}
	of.set(working())
	_, server := served(t, of)
	b := browsertest.New(t, browsertest.Options{Allowed: []string{"401"}})
	b.Login(server.URL, "not the password")
	if text := b.Text("[role=alert]"); text != "That password is not right." {
		t.Errorf("the page says %q", text)
	}
	b.Login(server.URL, ownerPassword)
	b.See("#live")
}
