package cmd

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "ztbridge"

// arrow says what of this module a package may import. The first one that matches decides; a
// package that none matches must not exist. Patterns are path.Match's, with /… for the package and
// all below it.
type arrow struct {
	from string
	to   []string
}

//	cmd ─▶ bridge ─┬─▶ services ─┐
//	 │             ├─▶ status ───┼─▶ decide ─▶ drivers ─▶ health, policyroute
//	 │             ├─────────────┘    ┌────▶ (bridge/…, each alone)
//	 │             └─▶ network ───────┘
//	 └───▶ image
//
// policyroute/kernel imports policyroute, which has the standard library alone.
var arrows = []arrow{
	// Nothing that makes images is on the box, but what takes an update into the other slot is.
	{from: "cmd/ztbridge", to: []string{"bridge", "bridge/…", "image/device/update",
		"image/device/box"}},
	{from: "cmd/ztbridge-demo", to: []string{"bridge/api", "bridge/lab/…", "policyroute/netlab"}},
	{from: "cmd/*", to: []string{"bridge", "bridge/…", "image/…"}},
	{from: "image/device/…", to: []string{"image/device/…", "bridge/health"}},
	{from: "image/build/…", to: []string{"image/build/…", "image/device/…"}},
	{from: "bridge", to: []string{"bridge/…", "policyroute", "policyroute/kernel"}},
	{from: "bridge/decide", to: slices.Concat(drivers, engine)},
	{from: "bridge/services", to: slices.Concat([]string{"bridge/clients", "bridge/clock",
		"bridge/decide", "bridge/pathdial", "bridge/sockopt", "bridge/step"}, drivers, engine)},
	{from: "bridge/status", to: slices.Concat([]string{"bridge/clock", "bridge/decide"}, drivers, engine)},
	{from: "bridge/network", to: drivers},
	{from: "bridge/clients", to: slices.Concat([]string{"bridge/suggest"}, drivers)},
	// checks a profile as the daemon does
	{from: "bridge/importer", to: slices.Concat([]string{"bridge/services", "bridge/statefile"},
		drivers)},
	{from: "bridge/devices", to: slices.Concat([]string{"bridge/decide", "bridge/statefile"}, drivers,
		engine)},
	{from: "bridge/bridgetest", to: slices.Concat(drivers, engine)},
	{from: "bridge/echowatch", to: []string{"bridge/packet"}},
	{from: "bridge/lab/…", to: []string{"policyroute/netlab"}},
	{from: "bridge/ndp", to: []string{"bridge/packet"}},
	{from: "bridge/health"},
	{from: "bridge/notify", to: []string{"bridge/api", "bridge/health", "bridge/pathdial",
		"bridge/statefile"}},
	{from: "bridge/history", to: []string{"bridge/api", "bridge/health"}},
	{from: "bridge/support"},
	{from: "bridge/command", to: []string{"bridge/api"}},
	{from: "bridge/backup", to: []string{"bridge/config", "bridge/pki", "bridge/sealed",
		"bridge/statefile"}},
	// the page shows the status and asks the daemon's own backend
	{from: "bridge/web", to: []string{"bridge/api", "bridge/certfile", "bridge/clients", "bridge/connlimit",
		"bridge/health", "bridge/network", "bridge/pki", "bridge/sockopt", "bridge/zerotier",
		"bridge/zerotier/controller"}},
	// a driver: only what is below itself, and what says what is wrong
	{from: "bridge/*/…", to: []string{"bridge/certfile", "bridge/clock", "bridge/connlimit",
		"bridge/health", "bridge/pathdial",
		"bridge/sealed", "bridge/sockopt", "bridge/statefile", "bridge/step", "bridge/suggest"}},
	{from: "policyroute"},
	{from: "policyroute/kernel", to: []string{"policyroute"}},
	{from: "policyroute/netlab"},
	{from: "policyroute/policytest", to: []string{"policyroute"}},
	{from: "scripts/unchanged", to: []string{"policyroute/netlab"}},
	{from: "scripts/*"},
}

// engine is the policy engine.
var engine = []string{"policyroute", "policyroute/kernel"}

// drivers are the packages that each do one thing and know nothing of each other.
var drivers = []string{
	"bridge/api", "bridge/config", "bridge/diskcheck", "bridge/exitaddr", "bridge/health", "bridge/echowatch",
	"bridge/ndp", "bridge/notify", "bridge/onetime",
	"bridge/openvpn/…", "bridge/pathcheck", "bridge/pki", "bridge/portal", "bridge/prefixcheck", "bridge/probe",
	"bridge/reclaim",
	"bridge/resolver", "bridge/tun", "bridge/zerotier/…",
}

// only names libraries that must not spread.
var only = map[string][]string{
	"github.com/vishvananda/netlink":         {"policyroute/kernel"},
	"github.com/google/nftables":             {"policyroute/kernel"},
	"github.com/coreos/go-iptables":          {"policyroute/kernel"},
	"github.com/songgao/water":               {"bridge/tun"},
	"github.com/spf13/viper":                 {"bridge/config"},
	"github.com/mysteriumnetwork/go-openvpn": {"bridge/openvpn/…"},
	"github.com/prometheus/client_golang":    {"bridge/api"},
	"testing": {"policyroute/policytest",
		"bridge/zerotier/controllertest", "bridge/bridgetest", "bridge/openvpn/ovpntest",
		"bridge/web/browsertest"},
	module + "/policyroute/netlab": {"cmd/ztbridge-demo", "bridge/lab/…",
		"scripts/unchanged"},
	module + "/bridge/lab":                       {"cmd/ztbridge-demo", "bridge/lab/ztlab"},
	module + "/bridge/bridgetest":                nil,
	module + "/bridge/web/browsertest":           nil,
	"github.com/chromedp/chromedp":               {"bridge/web/browsertest"},
	module + "/policyroute/policytest":           nil,
	module + "/bridge/e2e":                       nil,
	"github.com/rogpeppe/go-internal/testscript": nil,
	"github.com/google/go-cmp":                   nil,
	"github.com/diskfs/go-diskfs":                {"image/build/…", "image/device/appliance"},
	"github.com/spf13/cobra":                     {"cmd/*"},
	"go.etcd.io/bbolt":                           {"bridge/history"},
	"github.com/wneessen/go-mail":                {"bridge/notify"},
}

type pkg struct {
	ImportPath string
	Dir        string
	GoFiles    []string // without tests
	Imports    []string // without those of tests
}

// TestImports holds the packages to the drawing above.
func TestImports(t *testing.T) {
	for _, p := range list(t) {
		from := strings.TrimPrefix(p.ImportPath, module+"/")
		i := slices.IndexFunc(arrows, func(a arrow) bool { return match(a.from, from) })
		if i < 0 {
			if len(p.Imports) > 0 {
				t.Errorf("%s has no place in the drawing", from)
			}
			continue
		}
		for _, imported := range p.Imports {
			if to, ours := strings.CutPrefix(imported, module+"/"); ours &&
				!allowed(arrows[i], from, to) {
				t.Errorf("%s imports %s", from, to)
			}
			if from == "policyroute" && strings.Contains(strings.Split(imported, "/")[0], ".") {
				t.Errorf("%s imports %s, which is not in the standard library", from, imported)
			}
			for library, users := range only {
				if within(imported, library) &&
					!slices.ContainsFunc(users, func(u string) bool { return match(u, from) }) {
					t.Errorf("%s imports %s, which only %v may", from, imported, users)
				}
			}
		}
	}
}

func allowed(a arrow, from, to string) bool {
	if strings.HasPrefix(from, "bridge/") {
		driver := strings.Join(strings.Split(from, "/")[:2], "/")
		if within(to, driver) {
			return true
		}
	}
	return slices.ContainsFunc(a.to, func(pattern string) bool { return match(pattern, to) })
}

// within says whether a package is the given one or below it.
func within(p, root string) bool { return p == root || strings.HasPrefix(p, root+"/") }

func match(pattern, name string) bool {
	root, below := strings.CutSuffix(pattern, "/…")
	if below {
		parts := strings.Split(name, "/")
		name = strings.Join(parts[:min(len(parts), strings.Count(root, "/")+1)], "/")
	}
	ok, err := path.Match(root, name)
	return ok && err == nil
}

func list(t *testing.T) []pkg {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Dir,GoFiles,Imports", module+"/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("listing packages: %v: %s", err, stderr.String())
	}
	var all []pkg
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p pkg
		if err := d.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) < 10 {
		t.Fatalf("only %d packages were listed", len(all))
	}
	return all
}

// TestPackageComments: what a package is for stands in its doc.go, and only there.
func TestPackageComments(t *testing.T) {
	for _, p := range list(t) {
		for _, file := range p.GoFiles {
			text, err := os.ReadFile(filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			said := strings.HasPrefix(string(text), "// Package ") ||
				strings.HasPrefix(string(text), "// Command ")
			if said != (file == "doc.go") {
				t.Errorf("%s: %s has a package comment: %t", p.ImportPath, file, said)
			}
		}
		if len(p.GoFiles) > 0 && !slices.Contains(p.GoFiles, "doc.go") {
			t.Errorf("%s has no doc.go", p.ImportPath)
		}
	}
}

// TestRootHoldsTheDaemonAlone: what is not the loop belongs to decide, services, status or a
// driver.
func TestRootHoldsTheDaemonAlone(t *testing.T) {
	const most = 1000
	lines := 0
	for _, p := range list(t) {
		if p.ImportPath != module+"/bridge" {
			continue
		}
		for _, file := range p.GoFiles {
			text, err := os.ReadFile(filepath.Join(p.Dir, file))
			if err != nil {
				t.Fatal(err)
			}
			lines += bytes.Count(text, []byte("\n"))
		}
	}
	if lines == 0 || lines > most {
		t.Errorf("package bridge has %d lines without tests, want at most %d", lines, most)
	}
}
