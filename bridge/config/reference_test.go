package config

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// same compares configurations by what they mean: positions, spelling and spellings of files aside.
var same = cmp.Options{
	cmpopts.IgnoreTypes(Position{}),
	cmpopts.IgnoreFields(Config{}, "File"),
	cmpopts.IgnoreFields(Selector{}, "Text"),
	cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() }),
	cmp.Comparer(func(a, b netip.Addr) bool { return a == b }),
	cmp.Comparer(func(a, b netip.Prefix) bool { return a == b }),
	cmp.Comparer(func(a, b netip.AddrPort) bool { return a == b }),
}

func read(t *testing.T, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("../../configs", name))
	if err != nil {
		t.Fatal(err)
	}
	return ownNetworks.Replace(string(data))
}

// ownNetworks puts ids where the files say that a person's own belong.
var ownNetworks = strings.NewReplacer(networkPlaceholder, "abcdef0123000001",
	"id-of-a-second-network", "abcdef0123000002", "id-of-a-third-network", "abcdef0123000003")

// examples are the files that are configurations; user-data holds one among others.
func examples(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob("../../configs/examples/*.yaml")
	paths = slices.DeleteFunc(paths,
		func(p string) bool { return filepath.Base(p) == "user-data.yaml" })
	if err != nil || len(paths) < 4 {
		t.Fatalf("found %v, %v", paths, err)
	}
	return paths
}

// The reference and the examples work once the network's id is filled in, and say so until then.
func TestPlaceholderIsRefused(t *testing.T) {
	paths := examples(t)
	for _, path := range append(paths, "../../configs/ztbridge.yaml") {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(data), publicNetwork) {
			t.Errorf("%s names the public network", path)
		}
		_, _, err = load(t, folder(t), string(data))
		var list Errors
		if !errors.As(err, &list) || !strings.Contains(err.Error(), "central.zerotier.com") ||
			!strings.Contains(err.Error(), networkPlaceholder) {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// example matches the mark before a commented example; prose has exactly one space behind it.
var example = regexp.MustCompile(`(?m)^( *)#(\S|  )`)

func uncomment(text string) string { return example.ReplaceAllString(text, "$1$2") }

func TestReferenceIsEnoughAsItStands(t *testing.T) {
	cfg, warnings, err := load(t, folder(t), read(t, "ztbridge.yaml"))
	if err != nil || len(warnings) > 0 {
		t.Fatalf("error %v, warnings %v", err, warnings)
	}
	want := []Rule{{Name: "policy[0]", Egress: []string{"provider"},
		From: []Selector{{Kind: ByIngress, Ingress: []string{"abcdef0123000001"}}}}}
	if diff := cmp.Diff(want, cfg.Policy, same); diff != "" {
		t.Errorf("policy (-want +got):\n%s", diff)
	}
}

func TestReferenceUncommented(t *testing.T) {
	text := uncomment(read(t, "ztbridge.yaml"))
	cfg, warnings, err := load(t, folder(t), text)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("error %v, warnings %v in:\n%s", err, warnings, text)
	}
	if cfg.Endpoint == nil || cfg.ZeroTier.Moon == nil || len(cfg.Egresses) != 5 ||
		len(cfg.Policy) != 8 ||
		len(cfg.Inbound) != 2 || len(cfg.Interfaces) != 2 || len(cfg.ZeroTier.Networks) != 3 {
		t.Errorf("an example was not uncommented:\n%s", text)
	}
}

// What the reference gives as a default is the default.
func TestReferenceTellsTheDefaults(t *testing.T) {
	said := mustLoad(t, uncomment(read(t, "ztbridge.yaml")))
	plain := mustLoad(t, minimal+"endpoint: {address: vm.example.org}\n")
	if diff := cmp.Diff(plain.Probe, said.Probe, same); diff != "" {
		t.Errorf("probe (-default +reference):\n%s", diff)
	}
	said.Endpoint.HTTPS = HTTPS{}
	if diff := cmp.Diff(plain.Endpoint, said.Endpoint, same); diff != "" {
		t.Errorf("endpoint (-default +reference):\n%s", diff)
	}
	if plain.ZeroTier.Home != said.ZeroTier.Home {
		t.Errorf("zerotier.home: default %s, reference %s", plain.ZeroTier.Home, said.ZeroTier.Home)
	}
	acme := mustLoad(t,
		minimal+"endpoint: {address: vm.example.org, https: {acme: {}}}\n").Endpoint.HTTPS.ACME
	if want := mustLoad(t, uncomment(read(t,
		"ztbridge.yaml"))).Endpoint.HTTPS.ACME.Directory; acme.Directory != want {
		t.Errorf("acme directory: default %s, reference %s", acme.Directory, want)
	}
}

func TestExamples(t *testing.T) {
	paths := examples(t)
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			_, warnings, err := load(t, folder(t),
				read(t, filepath.Join("examples", filepath.Base(path))))
			if err != nil || len(warnings) > 0 {
				t.Errorf("error %v, warnings %v", err, warnings)
			}
		})
	}
}

// Show prints a file that means the same as what was read.
func TestShowRoundTrip(t *testing.T) {
	texts := map[string]string{"minimal": minimal, "reference": uncomment(read(t, "ztbridge.yaml")),
		"nothing allowed": minimal +
			"policy: []\npeering: []\nendpoint: {address: vm.example.org}\n"}
	for _, name := range []string{"uno", "duo", "dinosaur", "exit-node"} {
		texts[name] = read(t, "examples/"+name+".yaml")
	}
	for name, text := range texts {
		t.Run(name, func(t *testing.T) {
			before := mustLoad(t, text)
			shown, err := before.Show()
			if err != nil {
				t.Fatal(err)
			}
			after, _, err := load(t, t.TempDir(), string(shown))
			if err != nil {
				t.Fatalf("what was shown is refused: %v\n%s", err, shown)
			}
			if diff := cmp.Diff(before, after, same, splitSelectors); diff != "" {
				t.Errorf("(-read +shown):\n%s\n%s", diff, shown)
			}
		})
	}
}

// splitSelectors makes [zerotier] and the list of its networks alike.
var splitSelectors = cmpopts.AcyclicTransformer("split", func(list []Selector) []Selector {
	var out []Selector
	for _, s := range list {
		if s.Kind != ByIngress {
			out = append(out, s)
		}
		for _, name := range s.Ingress {
			out = append(out, Selector{Kind: ByIngress, Ingress: []string{name}})
		}
	}
	return out
})
