package bridge

import (
	"errors"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/history"
	"ztbridge/bridge/notify"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/probe"
	"ztbridge/bridge/services"
	"ztbridge/bridge/status"
	"ztbridge/bridge/web"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute"
)

// While the kernel cannot be changed, the status says so, and where traffic goes by what it has
// held since before.
func TestStatusTellsWhatTheKernelHolds(t *testing.T) {
	cfg := bridgetest.Parse(t, bridgetest.Uno)
	key := decide.NewEgressList([]string{"provider", "backup"})
	d := &daemon{
		page: &web.Service{},
		services: services.New(t.Context(), services.Env{StateDir: t.TempDir()}, services.User{},
			services.NewTrigger()),
		Recorder: history.NewRecorder(t.TempDir(), slog.New(slog.DiscardHandler)),
		Notifier: notify.New(t.TempDir(), func() {}, slog.New(slog.DiscardHandler)),
		spec: &services.Spec{
			Config: cfg}, reporter: status.NewReporter(), usage: decide.NewUsage(),
		opts: Options{RuntimeDir: t.TempDir(),
			Logger: slog.New(slog.NewTextHandler(io.Discard, nil))},
	}
	s := decide.Snapshot{
		Now: time.Now(), Host: decide.HostState(bridgetest.HostState("provider", "backup")),
		ZeroTier: bridgetest.Joined(),
		Tunnels: map[string]client.Status{"provider": bridgetest.Up("10.8.0.2/24"),
			"backup": bridgetest.Up("10.9.0.2/24")},
		Probes: map[string]probe.Status{"provider": {Grade: probe.Stable},
			"backup": {Grade: probe.Stable}},
	}
	s.ZeroTier.Service.State = zerotier.ServiceOK
	first := decide.Decide(cfg, s)
	if got := first.Choices[key].Egress; got != "provider" {
		t.Fatalf("chooses %q", got)
	}
	failed := errors.New("ip route replace default: no such device")
	for _, tt := range []struct {
		name    string
		err     error
		applied bool
		state   api.State
		egress  string
	}{
		{"nothing was ever applied", failed, false, api.Degraded, ""},
		{"applied", nil, true, api.Working, "provider"},
		{"a failover that fails", failed, false, api.Degraded, "provider"},
		{"and then succeeds", nil, true, api.Degraded, "backup"},
		{"but for one route", failed, true, api.Degraded, "backup"},
	} {
		if strings.HasPrefix(tt.name, "a failover") {
			s.Probes["provider"] = probe.Status{Grade: probe.Degraded}
		}
		desired := decide.Decide(cfg, s)
		if tt.applied {
			d.usage.Record(desired)
			d.inForce = inForce{spec: d.spec, intent: desired.Intent}
		}
		d.publish(s, desired, status.Pass{At: s.Now, Err: tt.err, Applied: tt.applied})
		st := d.published.Load().status
		if st.State != tt.state || strings.Contains(st.Summary,
			"what was in force before stays") == tt.applied {
			t.Errorf("%s: %s: %s", tt.name, st.State, st.Summary)
		}
		if p, in := st.Policies[0], st.Ingresses[0].Goes[0]; p.Egress != tt.egress ||
			in.Egress != tt.egress {
			t.Errorf("%s: the policy goes by %q, the ingress by %q, want %q", tt.name, p.Egress,
				in.Egress, tt.egress)
		}
		use := func(in policyroute.Intent) string {
			if len(in.Policies) == 0 {
				return ""
			}
			return in.Policies[0].Use
		}
		if got := use(d.published.Load().view.Applied); tt.name != "nothing was ever applied" &&
			got != tt.egress {
			t.Errorf("%s: explains by %q, want %q", tt.name, got, tt.egress)
		}
	}
}
