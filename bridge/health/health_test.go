package health

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// declared returns the constants of type Code in this package, by name.
func declared(t *testing.T) map[string]Code {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "codes.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	codes := map[string]Code{}
	ast.Inspect(file, func(n ast.Node) bool {
		v, ok := n.(*ast.ValueSpec)
		if !ok {
			return true
		}
		if of, ok := v.Type.(*ast.Ident); ok && of.Name == "Code" {
			text, err := strconv.Unquote(v.Values[0].(*ast.BasicLit).Value)
			if err != nil {
				t.Fatal(err)
			}
			codes[v.Names[0].Name] = Code(text)
		}
		return true
	})
	return codes
}

// Every code is registered once, with all that a person has to know.
func TestEveryCodeIsRegistered(t *testing.T) {
	codes := declared(t)
	for name, code := range codes {
		if _, found := Lookup(code); !found {
			t.Errorf("%s is not registered", name)
		}
	}
	if len(kinds) != len(codes) {
		t.Errorf("%d kinds for %d codes", len(kinds), len(codes))
	}
	if !slices.IsSortedFunc(kinds, func(a, b Kind) int {
		return strings.Compare(string(a.Code), string(b.Code))
	}) {
		t.Error("the registry is not sorted: Lookup does not find all of it")
	}
	for _, k := range kinds {
		if k.Area == "" || k.Severity.rank() == len(order) || !strings.HasSuffix(k.Meaning, ".") {
			t.Errorf("%s: area %q, severity %q, meaning %q", k.Code, k.Area, k.Severity, k.Meaning)
		}
		for _, c := range k.DependsOn {
			if _, found := Lookup(c); !found || c == k.Code {
				t.Errorf("%s depends on %s", k.Code, c)
			}
		}
	}
}

// A code is spelled out here alone: elsewhere a misspelt one would compile, and match nothing.
func TestNobodySpellsCodes(t *testing.T) {
	literals := map[string]bool{}
	for _, code := range declared(t) {
		literals[strconv.Quote(string(code))] = true
	}
	delete(literals, `"notice"`)        // an ordinary word
	delete(literals, `"egress-chosen"`) // a file of the state directory
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") ||
			strings.HasSuffix(path, "_test.go") || path == "../../bridge/health/codes.go" {
			return err
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if lit, ok := n.(*ast.BasicLit); ok && literals[lit.Value] {
				t.Errorf("%s spells the code %s: use its constant", path, lit.Value)
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestExplains(t *testing.T) {
	for _, tt := range []struct {
		code    Code
		present []Code
		want    Code
	}{
		{TunnelBackoff, []Code{WANDown, TunnelBackoff}, WANDown},
		{TunnelBackoff, []Code{TunnelBackoff}, ""},
		{NetworkDenied, []Code{ServiceNotRunning}, ServiceNotRunning},
		{"of-a-later-version", []Code{WANDown}, ""},
	} {
		if got := Explains(tt.code, tt.present); got != tt.want {
			t.Errorf("%s among %v is explained by %q, want %q", tt.code, tt.present, got, tt.want)
		}
	}
	if got := (Problem{Code: ViaUnusable}).Fill().Severity; got != Error {
		t.Errorf("severity %q", got)
	}
	if AreaOf("of-a-later-version") != "" {
		t.Error("an unknown code has an area")
	}
}
