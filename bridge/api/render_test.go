package api

import (
	"bytes"
	"encoding/json"
	"flag"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the golden files")

func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if *update {
		if err := os.WriteFile(path, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", path, diff)
	}
}

func TestRender(t *testing.T) {
	golden(t, "degraded.txt", RenderDetails(degraded()))
	golden(t, "degraded-short.txt", Render(degraded()))
	golden(t, "starting.txt", RenderDetails(Status{Version: "1.2.3", Time: noon, Started: noon,
		State: Starting, Summary: "starting; nothing passes yet"}))
	golden(t, "explanation.txt", RenderExplanation(Explanation{
		Address: netip.MustParseAddr(
			"10.147.17.50"), Ingress: "home", Rule: "policy[1]", Egress: "backup",
		Steps: []string{"policy[0] does not match: its sources are 10.147.17.66",
			"policy[1] matches: zerotier", "provider is down", "backup is usable"},
	}))
}

// The JSON is what programs read: a change of a name or a type in this file breaks them.
func TestJSON(t *testing.T) {
	for name, status := range map[string]Status{"degraded.json": degraded(),
		"empty.json": {Time: noon, Started: noon}} {
		got, err := json.MarshalIndent(status.Filled(), "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(got, []byte("null")) {
			t.Errorf("%s: a null where there should be an empty list:\n%s", name, got)
		}
		golden(t, name, string(got)+"\n")
	}
}

// FuzzWrap: no line is wider than a terminal, unless one word is; and no word is lost.
func FuzzWrap(f *testing.F) {
	f.Add("egress", strings.Repeat("word ", 40))
	f.Add("a", strings.Repeat("→", 200))
	f.Fuzz(func(t *testing.T, key, value string) {
		if len(key) > keyWidth || strings.ContainsAny(key, "\n\r") || !utf8.ValidString(value) ||
			strings.Map(printable, key+value) != key+value {
			t.Skip()
		}
		p := &page{}
		p.field(key, value)
		for line := range strings.Lines(p.b.String()) {
			line = strings.TrimSuffix(line, "\n")
			if utf8.RuneCountInString(line) > Width &&
				len(strings.Fields(strings.TrimPrefix(line, "  "+key))) > 1 {
				t.Errorf("too wide: %q", line)
			}
		}
		if got := strings.Fields(strings.TrimPrefix(p.b.String(), "  "+key)); value != "" &&
			!cmp.Equal(got, strings.Fields(value)) && len(strings.Fields(value)) > 0 {
			t.Errorf("words changed: %q to %q", strings.Fields(value), got)
		}
	})
}

// Each IP version of a rule is told of, also where the other one alone has an exit.
func TestExitsOfBothVersions(t *testing.T) {
	for _, tt := range []struct {
		rule Policy
		want string
	}{
		{Policy{Egress: "a"}, "a"}, {Policy{}, "blocked"},
		{Policy{Egress: "a", Egress6: "six"}, "a, IPv6 by six"},
		{Policy{Egress6: "six"}, "blocked, IPv6 by six"},
	} {
		s := Status{Time: noon, Policies: []Policy{tt.rule}}
		s.Policies[0].Name, s.Policies[0].Since = "policy[0]", noon
		want := " → " + tt.want + " for 0s\n"
		if got := Render(s); !strings.Contains(got, "all"+want) {
			t.Errorf("%+v:\n%s", tt.rule, got)
		}
		if got := RenderDetails(s); !strings.Contains(got, "policy[0]"+want) {
			t.Errorf("%+v:\n%s", tt.rule, got)
		}
	}
}

// A controller's title for its network cannot steer the terminal of who looks at it.
func TestRenderIsPlain(t *testing.T) {
	network := Status{Networks: []Network{{Title: "\x1b]0;owned\a\u202etxet"}}}
	got := Render(network) + RenderDetails(network)
	if strings.ContainsAny(got, "\x1b\a\u202e") {
		t.Errorf("%q", got)
	}
}

func TestAge(t *testing.T) {
	p := &page{now: noon}
	for _, c := range []struct {
		ago  time.Duration
		want string
	}{
		{-time.Hour, "0s"}, {59900 * time.Millisecond, "59s"}, {time.Minute,
			"1m"}, {61 * time.Second, "1m 1s"},
		{time.Hour, "1h"}, {25*time.Hour + 59*time.Minute, "1d 1h"},
	} {
		if got := p.age(ago(c.ago)); got != c.want {
			t.Errorf("%s: %s, want %s", c.ago, got, c.want)
		}
	}
}

func TestSize(t *testing.T) {
	for bytes, want := range map[uint64]string{
		0: "0 B", 1023: "1023 B", 1024: "1.0 KiB", 1536: "1.5 KiB", 1 << 30: "1.0 GiB", ^uint64(
			0): "16.0 EiB",
	} {
		if got := size(bytes); got != want {
			t.Errorf("%d: %s, want %s", bytes, got, want)
		}
	}
}
