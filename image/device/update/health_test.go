package update

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"ztbridge/image/device/box"
)

// shortTrial is for a daemon that is well from the start.
var shortTrial = Trial{Timeout: 10 * time.Second, Every: time.Millisecond,
	Steady: 5 * time.Millisecond, Looks: 3}

// answer is what a daemon says that has one tunnel in use, another at rest, and a network.
func answer(change ...string) string {
	text := `{"state":"working","time":"2026-01-02T03:04:05Z","started":"2026-01-02T03:00:00Z","conditions":[],
		"egresses":[{"name":"provider","state":"up","usable":true,"rtt_seconds":0.02},{"name":"spare","state":"up","usable":true,"rtt_seconds":0.03}],
		"networks":[{"name":"home","status":"ok"}],"ingresses":[{"name":"lan","state":"up"}]}`
	return strings.NewReplacer(change...).Replace(text)
}

const (
	spareUp      = `"name":"spare","state":"up","usable":true`
	spareDown    = `"name":"spare","state":"backoff","usable":false`
	noConditions = `"conditions":[]`
)

func condition(code, subject, severity string) string {
	return fmt.Sprintf(`"conditions":[{"code":%q,"subject":%q,"severity":%q}]`, code, subject,
		severity)
}

func TestParseHealth(t *testing.T) {
	got, err := parseHealth([]byte(answer(spareUp,
		`"name":"spare","state":"degraded","usable":true`, `"lan","state":"up"`,
		`"lan","state":"absent"`,
		noConditions,
		`"conditions":[{"code":"clock","subject":"","severity":"error"},{"code":"reconcile-failed","subject":"x","severity":"error"},
			{"code":"mtu","subject":"x","severity":"warning"},{"code":"zerotier-unreachable","subject":"","severity":"warning"}]`)))
	if err != nil {
		t.Fatal(err)
	}
	want := Health{Errors: []string{"clock", "reconcile-failed x"}, Links: map[string]linkState{
		"zerotier": unproven, "egress provider": working, "egress spare": unproven,
		"network home": working, "ingress lan": down}}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(Health{})); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	for _, text := range []string{`{"state":"starting"}`, `{"state":"starting","conditions":[]}`,
		`{"state":"working"}`, `{}`} {
		if _, err := parseHealth([]byte(text)); !errors.Is(err, errNotReady) {
			t.Errorf("%s: %v", text, err)
		}
	}
}

// What a new system may not lose, and what it is not to blame for.
func TestNewSystemIsComparedLinkByLink(t *testing.T) {
	closed := []string{`"working"`, `"closed"`, noConditions,
		condition("tunnel-backoff", "spare", "error"), spareUp, spareDown}
	tests := []struct {
		name   string
		before []string
		now    []string
		bad    bool
	}{
		{name: "all is well"},
		{name: "a spare tunnel died", now: []string{spareUp, spareDown, noConditions,
			condition("tunnel-backoff", "spare", "warning")}, bad: true},
		{name: "it was dead before", before: []string{spareUp, spareDown},
			now: []string{spareUp, spareDown}},
		{name: "it was dead of something else", before: closed,
			now: []string{noConditions, condition("tunnel-auth-failed", "spare", "error"), spareUp,
				`"name":"spare","state":"auth-failed","usable":false`}},
		{name: "it was dead and lives", before: closed},
		{name: "nothing is answered through it",
			now: []string{spareUp, `"name":"spare","state":"degraded","usable":true`}, bad: true},
		{name: "nothing has been answered yet", now: []string{"0.03", "0"}, bad: true},
		{name: "its provider drops probes", before: []string{"0.03", "0"},
			now: []string{"0.03", "0", spareUp, `"name":"spare","state":"degraded","usable":true`}},
		{name: "an egress is gone", now: []string{`"name":"spare"`, `"name":"other"`}, bad: true},
		{name: "ZeroTier is out of reach",
			now: []string{noConditions,
				condition("zerotier-unreachable", "", "warning")}, bad: true},
		{name: "it was before", before: []string{noConditions,
			condition("zerotier-unreachable", "", "warning")},
			now: []string{noConditions, condition("zerotier-unreachable", "", "warning")}},
		{name: "it answered no one before",
			before: []string{noConditions, condition("zerotier-unreachable", "", "warning")},
			now: []string{noConditions,
				condition("zerotier-not-running", "", "error")}, bad: true},
		{name: "its service never ran",
			before: []string{noConditions, condition("zerotier-not-running", "", "error")},
			now:    []string{noConditions, condition("zerotier-no-token", "", "error")}},
		{name: "a network is not joined", now: []string{`"status":"ok"`, `"status":"joining"`},
			bad: true},
		{name: "an interface has no driver",
			now: []string{`"lan","state":"up"`, `"lan","state":"absent"`}, bad: true},
		{name: "a client's cable is out",
			now: []string{`"lan","state":"up"`, `"lan","state":"down"`}},
		{name: "another error", now: []string{noConditions,
			condition("reconcile-failed", "", "error")}, bad: true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before, now := noted(t, answer(tt.before...)), parsed(t, answer(tt.now...))
			if worse := now.worseThan(before); (len(worse) > 0) != tt.bad {
				t.Errorf("complaints: %q", worse)
			}
		})
	}
}

// Notes of versions that knew only errors are kept to, and not held against what they could not
// know.
func TestOldNotes(t *testing.T) {
	var before Health
	if err := json.Unmarshal([]byte(`{"errors":["tunnel-backoff spare"]}`), &before); err != nil {
		t.Fatal(err)
	}
	same := parsed(t, answer(spareUp, spareDown, noConditions,
		condition("tunnel-connecting", "spare", "error")))
	if worse := same.worseThan(before); len(worse) > 0 {
		t.Errorf("the tunnel that was down before: %q", worse)
	}
	other := parsed(t, answer(noConditions, condition("tunnel-connecting", "provider", "error")))
	if worse := other.worseThan(before); len(worse) == 0 {
		t.Error("another tunnel is down, and nobody minds")
	}
}

func parsed(t *testing.T, text string) Health {
	t.Helper()
	h, err := parseHealth([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// noted is what is left of an answer after a restart.
func noted(t *testing.T, text string) Health {
	t.Helper()
	b, err := json.Marshal(parsed(t, text))
	if err != nil {
		t.Fatal(err)
	}
	var h Health
	if err := json.Unmarshal(b, &h); err != nil {
		t.Fatal(err)
	}
	return h
}

// The trial ends well only after several good looks in a row at one daemon that works on.
func TestTrialWantsAStreak(t *testing.T) {
	at, instance := time.Unix(1000, 0), time.Unix(900, 0)
	good := func(n int) Health {
		return Health{at: at.Add(time.Duration(n) * time.Second),
			instance: instance}
	}
	restarted := func(n int) Health {
		h := good(n)
		h.instance = instance.Add(time.Duration(n) * time.Second)
		return h
	}
	tests := []struct {
		name string
		look func(n int) (Health, error)
		want error
	}{
		{"well", func(n int) (Health, error) { return good(n), nil }, nil},
		{"slow to start", func(n int) (Health, error) {
			if n < 5 {
				return Health{}, errNotReady
			}
			return good(n), nil
		}, nil},
		{"slow to answer again", func(n int) (Health, error) { return good(n / 3), nil }, nil},
		{"always starting", func(int) (Health, error) { return Health{}, errNotReady },
			errNotReady},
		{"crashing again and again", func(n int) (Health, error) { return restarted(n), nil },
			ErrUnhealthy},
		{"crashing between looks", func(n int) (Health, error) {
			if n%3 == 0 {
				return Health{}, errNoAnswer
			}
			return good(n), nil
		}, ErrUnhealthy},
		{"hanging", func(int) (Health, error) { return good(1), nil }, errStalled},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFixture(t)
			if _, err := f.Apply(context.Background(),
				bytes.NewReader(f.bundle(t, "cloud-amd64", f.key)), false); err != nil {
				t.Fatal(err)
			}
			f.boots(t)
			looks := 0
			f.Health = func(context.Context) (Health, error) { looks++; return tt.look(looks) }
			trial := shortTrial
			if tt.want != nil {
				trial.Timeout = 100 * time.Millisecond
			}
			if err := f.EndTrial(context.Background(), trial); !errors.Is(err, tt.want) {
				t.Errorf("outcome: %v, want %v", err, tt.want)
			}
			want := box.A
			if tt.want == nil {
				want = box.B
			}
			if got := f.boots(t); got != want || looks < trial.Looks {
				t.Errorf("booted %s after %d looks", got, looks)
			}
		})
	}
}

// Notes that cannot be read leave the new system with the benefit of no doubt.
func TestUnreadableNotes(t *testing.T) {
	f := newFixture(t)
	if _, err := f.Apply(context.Background(),
		bytes.NewReader(f.bundle(t, "cloud-amd64", f.key)), false); err != nil {
		t.Fatal(err)
	}
	f.boots(t)
	f.health = Health{Errors: []string{"x"}}
	if err := os.WriteFile(f.healthFile(), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := f.EndTrial(context.Background(), Trial{Timeout: 20 * time.Millisecond,
		Every: time.Millisecond}); !errors.Is(err, ErrUnhealthy) {
		t.Errorf("outcome: %v", err)
	}
}
