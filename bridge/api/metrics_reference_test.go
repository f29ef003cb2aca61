package api

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/crypto/bcrypt"
)

const metricsDir = "../../configs/prometheus"

// all is a status from which every series is made.
func all() Status {
	s := degraded()
	s.Egresses[1].Probes = []ProbeState{{Version: "ipv4", State: "stable", Up: true}}
	s.Clients = append(s.Clients, s.Clients[0])          // one that is connected twice
	s.Conditions = append(s.Conditions, s.Conditions[0]) // two warnings of one tunnel
	return s
}

// The reference names every metric with its labels and meaning, and is written by -update.
func TestMetricsReference(t *testing.T) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(newCollector(all))
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	b.WriteString("# Metrics of ztbridge\n\nNames and labels do not change between versions. " +
		"`metrics:` in the configuration serves them by TCP; they are also at /metrics of the " +
		"daemon's socket.\n\n| metric | type | labels | meaning |\n|---|---|---|---|\n")
	names := map[string]bool{"up": true}
	for _, f := range families {
		var labels []string
		for _, l := range f.GetMetric()[0].GetLabel() {
			labels = append(labels, "`"+l.GetName()+"`")
		}
		names[f.GetName()] = true
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", f.GetName(),
			strings.ToLower(f.GetType().String()), strings.Join(labels, ", "), f.GetHelp())
	}
	path := filepath.Join(metricsDir, "README.md")
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != b.String() {
		t.Errorf("%s is not as the code has it (%v): run this test with -update", path, err)
	}
	// Rules and dashboard name nothing else.
	for _, file := range []string{"alerts.yaml", "grafana.json"} {
		text, err := os.ReadFile(filepath.Join(metricsDir, file))
		if err != nil {
			t.Fatal(err)
		}
		used := regexp.MustCompile(`\bztbridge_[a-z_]+`).FindAllString(string(text), -1)
		if len(used) == 0 {
			t.Errorf("%s uses no metric", file)
		}
		for _, name := range used {
			if !names[name] {
				t.Errorf("%s uses %s, which there is not", file, name)
			}
		}
	}
}

// Prometheus' own tool accepts the rules, the metrics, and a unit test of each rule.
func TestAlertRules(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("SKIPPED: promtool is not installed (package prometheus)")
	}
	rules := filepath.Join(metricsDir, "alerts.yaml")
	for _, args := range [][]string{{"check", "rules", rules},
		{"test", "rules", filepath.Join("testdata", "alerts_test.yaml")}} {
		out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput()
		if err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
	tests, err := os.ReadFile(filepath.Join("testdata", "alerts_test.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(rules)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`alert: (\w+)`).FindAllStringSubmatch(string(text), -1) {
		if !strings.Contains(string(tests), "alertname: "+m[1]) {
			t.Errorf("%s has no test", m[1])
		}
	}
	answer := httptest.NewRecorder()
	MetricsSettings{}.handler(all).ServeHTTP(answer, httptest.NewRequest("GET", "/metrics", nil))
	check := exec.CommandContext(t.Context(), promtool, "check", "metrics")
	check.Stdin = answer.Body
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

func TestMetricsPassword(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for _, password := range []string{"right", string(hash)} {
		h := MetricsSettings{User: "prometheus", Password: password}.handler(all)
		for given, want := range map[[2]string]int{{"", ""}: 401, {"prometheus", "wrong"}: 401,
			{"other", "right"}: 401, {"prometheus", ""}: 401, {"prometheus", "right"}: 200} {
			r := httptest.NewRequest("GET", "/metrics", nil)
			if given[0] != "" {
				r.SetBasicAuth(given[0], given[1])
			}
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, r)
			if answer.Code != want {
				t.Errorf("%q: %d, want %d", given, answer.Code, want)
			}
		}
	}
}

// Guesses are bounded for each source, and keep nobody else out.
func TestMetricsGuesses(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte("right"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for _, password := range []string{"right", string(hash)} {
		h := MetricsSettings{User: "prometheus", Password: password}.handler(all)
		ask := func(from, password string) int {
			r := httptest.NewRequest("GET", "/metrics", nil)
			r.RemoteAddr = from
			r.SetBasicAuth("prometheus", password)
			answer := httptest.NewRecorder()
			h.ServeHTTP(answer, r)
			return answer.Code
		}
		for i := range wrongBurst + 20 {
			want := http.StatusUnauthorized
			if i >= wrongBurst {
				want = http.StatusTooManyRequests
			}
			if got := ask("10.1.1.1:1000", fmt.Sprint("guess ", i)); got != want {
				t.Fatalf("guess %d: %d, want %d", i, got, want)
			}
		}
		for range 3 * wrongBurst { // as prometheus asks
			if got := ask("10.1.1.2:1000", "right"); got != http.StatusOK {
				t.Fatalf("another source: %d", got)
			}
		}
		if got := ask("10.1.1.1:2000", "right"); got != http.StatusTooManyRequests {
			t.Errorf("who guesses learns that one is right: %d", got)
		}
	}
}

// A server serves on an address that is there, follows its configuration, and ends.
func TestMetricsByTCP(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED: binding to an interface needs root")
	}
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(free.Addr().String())
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := NewMetricsServer(ctx, all, slog.New(slog.DiscardHandler))
	s.Configure(MetricsSettings{Listen: []netip.AddrPort{at}})
	get := func() (string, error) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet,
			"http://"+at.String()+"/metrics", nil)
		if err != nil {
			return "", err
		}
		answer, err := http.DefaultClient.Do(r)
		if err != nil {
			return "", err
		}
		defer answer.Body.Close()
		text, err := io.ReadAll(answer.Body)
		return string(text), err
	}
	until := func(what string, holds func(string, error) bool) {
		t.Helper()
		for end := time.Now().Add(30 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			text, err := get()
			if holds(text, err) {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("%s: %v", what, err)
			}
		}
	}
	until("serving", func(text string, err error) bool {
		return err == nil && strings.Contains(text, `ztbridge_egress_up{egress="backup"} 1`)
	})
	s.Configure(MetricsSettings{})
	until("serving no more", func(_ string, err error) bool { return err != nil })
	stop()
	s.Wait()
}

func TestOnlyPrivateSources(t *testing.T) {
	for _, a := range []string{"10.1.2.3", "192.168.1.1", "100.64.0.1", "127.0.0.1", "fd00::1",
		"fe80::1", "::1"} {
		if !isPrivate(netip.MustParseAddr(a)) {
			t.Errorf("%s gets no answer", a)
		}
	}
	public := []string{"203.0.113.1", "8.8.8.8", "2001:db8::1", "100.128.0.1", "172.32.0.1"}
	private := func(a string) bool { return isPrivate(netip.MustParseAddr(a)) }
	if slices.ContainsFunc(public, private) {
		t.Error("a public address gets an answer")
	}
}
