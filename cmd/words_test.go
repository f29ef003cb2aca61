package cmd

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// retired are words that no identifier may hold: the field has a usual term for each, or one that
// says more. Words that also mean what they say (line, member, held) cannot be told apart here, and
// are not listed.
var retired = map[string]string{
	"nurse": "monitor", "patient": "tunnelState", "tend": "reconcile", "relieve": "hurryStandby",
	"discharge": "forget", "rings": "routeLoops", "world": "HostState", "surroundings": "hostView",
	"scene": "explainer", "ledger": "history", "merit": "health", "shaky": "health",
	"proven": "health", "judge": "rate", "haste": "fastRounds", "reckon": "nextWait",
	"door": "authorizer", "knock": "authorize", "feasible": "validate", "rehearse": "dryRun",
	"strays": "orphanDevices", "settle": "debounce, commitReload or waitForRules",
	"settles": "debounce", "patience": "…Timeout", "blame": "lastFailure", "greets": "serverReplied",
	"obedience": "signalTimeout", "abroad": "to_world", "doorbell": "trigger", "bell": "trigger",
	"verdict": "outcome", "young": "starting", "way": "egress, path or queue",
}

// standard are places where a retired word is the field's own term.
var standard = map[string][]string{
	"verdict": {"policyroute/", "bridge/doctor/", "bridge/status/"}, // of nftables; of a check
	// ZeroTier calls a planet or moon a world, and a test what surrounds a thing.
	"world": {"bridge/zerotier/", "bridge/lab/ztlab/", "image/", "policyroute/"},
	"judge": {"image/", "policyroute/", "bridge/openvpn/profile/"}, // a trial; a property; a line
	"way":   {"cmd/ztbridge-image/", "image/"},
	"scene": {"policyroute/"}, // of a test
}

// TestWords holds the identifiers of the module to the field's terms.
func TestWords(t *testing.T) {
	const root = ".."
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && strings.HasPrefix(d.Name(), ".") && d.Name() != ".." {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, ".go") || path == "words_test.go" {
			return nil
		}
		fset := token.NewFileSet()
		file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		said := map[string]bool{}
		ast.Inspect(file, func(n ast.Node) bool {
			id, ok := n.(*ast.Ident)
			if !ok || said[id.Name] {
				return true
			}
			for _, word := range words(id.Name) {
				better, found := retired[word]
				if found && !slices.ContainsFunc(standard[word],
					func(dir string) bool { return strings.HasPrefix(rel, dir) }) {
					said[id.Name] = true
					t.Errorf("%s:%d: %s: for %q say %s", rel, fset.Position(id.Pos()).Line, id.Name,
						word, better)
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// words returns the words of an identifier in lower case.
func words(name string) []string {
	var all []string
	start := 0
	runes := []rune(name)
	for i := 1; i <= len(runes); i++ {
		if i == len(runes) || runes[i] == '_' || unicode.IsUpper(runes[i]) &&
			!unicode.IsUpper(runes[i-1]) {
			all = append(all, strings.ToLower(strings.Trim(string(runes[start:i]), "_")))
			start = i
		}
	}
	return all
}

func TestWordsOfIdentifiers(t *testing.T) {
	for name, want := range map[string][]string{"x": {"x"}, "nurse": {"nurse"},
		"theNurseTends": {"the", "nurse", "tends"}, "TestDoorbell_knock": {"test", "doorbell", "knock"},
		"IPv4": {"ipv4"}} {
		if got := words(name); !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", name, got, want)
		}
	}
}
