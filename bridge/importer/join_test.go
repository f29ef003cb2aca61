package importer

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ztbridge/bridge/config"
)

// TestJoin writes the network into what a box begins with, corrects it, and leaves all as it was
// where that is refused.
func TestJoin(t *testing.T) {
	const begun = "# begun\npage: {serve: lan} # here\n"
	const id, other = "abcdef0123000001", "abcdef0123000002"
	refused := errors.New("no")
	for name, c := range map[string]struct {
		before, id, instead string
		daemon              daemon
		after               string // of `networks`; empty: all as it was
		want                error  // nil with an empty after: any
	}{
		"the first":          {before: begun, id: id, after: id},
		"without a daemon":   {before: begun, id: id, daemon: daemon{stopped: true}, after: id},
		"corrected":          {before: begun + "zerotier: {networks: [" + other + "]}\n", id: id, instead: other, after: id},
		"a second":           {before: begun + "zerotier: {networks: [" + other + "]}\n", id: id, want: config.ErrByHand},
		"no id":              {before: begun, id: "hello"},
		"YAML in the id":     {before: begun, id: "abcdef0123000001]\nendpoint: {}\n#"},
		"an empty one":       {before: begun},
		"refused at the end": {before: begun, id: id, daemon: daemon{reload: refused}, want: refused},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "ztbridge.yaml")
			write(t, path, c.before)
			c.daemon.path = path
			err := (&Import{ConfigPath: path, Daemon: &c.daemon}).Join(t.Context(), c.id, c.instead)
			text, bad := os.ReadFile(path)
			if bad != nil {
				t.Fatal(bad)
			}
			got := string(text)
			switch {
			case c.after == "":
				if err == nil || c.want != nil && !errors.Is(err, c.want) || got != c.before {
					t.Errorf("%v, want %v; the configuration is\n%s", err, c.want, got)
				}
			case err != nil || !strings.HasPrefix(got, begun) ||
				!strings.Contains(got, "networks: ["+c.after+"]"):
				t.Errorf("%v; the configuration is\n%s", err, got)
			}
		})
	}
}
