package client

import (
	"context"
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"ztbridge/bridge/openvpn/profile"
)

// A state waits as long as its own failures say, however many others came before.
func TestWaitsByState(t *testing.T) {
	for _, remotes := range []int{1, 2, 100} {
		var c failureCount
		for range 50 * remotes {
			c.add(StateBackoff)
		}
		if got := c.wait(StateBackoff, remotes, 0.5); got != 30*time.Second {
			t.Errorf("%d servers, after an outage: %v", remotes, got)
		}
		for i, s := range []State{StateAuthFailed, StateConfigError, StateCertExpired,
			StateDNSFailed} {
			c.add(s)
			if got := c.wait(s, remotes, 0.5); got != waits[s].first ||
				c.all != 50*remotes+i+1 {
				t.Errorf("%d servers, the first %s after an outage: %v, %d in all", remotes, s, got,
					c.all)
			}
		}
	}
	// Two servers, each with a trouble of its own, are not asked ever faster because they take
	// turns.
	var c failureCount
	for range 100 {
		c.add(StateTLSFailed)
		c.add(StateBackoff)
	}
	if got := c.wait(StateBackoff, 2, 0.5); got != 30*time.Second {
		t.Errorf("two servers with different troubles: %v", got)
	}
}

// newIdleTunnel returns a tunnel with two servers that does not run.
func newIdleTunnel(t *testing.T) *Tunnel {
	t.Helper()
	p := &profile.Profile{Remotes: []profile.Remote{{Host: "192.0.2.1"}, {Host: "192.0.2.2"}}}
	return &Tunnel{
		cfg: Config{Name: "idle",
			Profile: p}, log: slog.New(slog.DiscardHandler), requests: make(chan request, 1),
		servers: newServerList(p, openNames(filepath.Join(t.TempDir(), "n"), &testResolver{},
			plainName), Written),
	}
}

// Another server is next when this one refused us, unless it is plain that the trouble is ours.
func TestFailureMovesOn(t *testing.T) {
	for state, want := range map[State]string{
		StateBackoff: "192.0.2.2", StateTLSFailed: "192.0.2.2", StatePushRefused: "192.0.2.2",
		StateAuthFailed:  "192.0.2.2",
		StateCertExpired: "192.0.2.2", StateConfigError: "192.0.2.1", StateDNSFailed: "192.0.2.1",
	} {
		tunnel := newIdleTunnel(t)
		if _, _, err := tunnel.servers.target(t.Context()); err != nil {
			t.Fatal(err)
		}
		wait := tunnel.nextWait(failure{state: state})
		if got, _, err := tunnel.servers.target(t.Context()); err != nil ||
			got.addr.String() != want {
			t.Errorf("after %s: %v, %v, want %s", state, got.addr, err, want)
		}
		if state == StateAuthFailed && wait < 20*time.Second {
			t.Errorf("after refused credentials, the next server is tried in %v", wait)
		}
	}
}

// A person ends any wait; what the daemon notices ends only waits for a server.
func TestRetryEndsAnyWait(t *testing.T) {
	for _, state := range []State{StateAuthFailed, StateCertExpired, StateConfigError,
		StatePushRefused, StateBackoff} {
		tunnel := newIdleTunnel(t)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			tunnel.pause(ctx, failure{state: state}, time.Hour)
		}()
		if state != StateBackoff {
			tunnel.Reconnect("probes")
			tunnel.Hurry()
			select {
			case <-ended:
				t.Errorf("%s: its wait was ended by the daemon", state)
			case <-time.After(50 * time.Millisecond):
			}
		}
		tunnel.Retry()
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			t.Errorf("%s: its wait was not ended", state)
		}
		cancel()
		<-ended
	}
	r := &run{t: newIdleTunnel(t), phase: connected}
	if v := r.request(request{retry: true, hurry: true}); v != nil || r.phase != connected {
		t.Errorf("a connection was ended: %+v, phase %v", v, r.phase)
	}
}
