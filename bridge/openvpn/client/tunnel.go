package client

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/netip"
	"path/filepath"
	"regexp"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"ztbridge/bridge/openvpn/process"
	"ztbridge/bridge/openvpn/profile"
)

// Tunnel supervises one openvpn client. Its methods may be called from any goroutine.
type Tunnel struct {
	cfg      Config
	log      *slog.Logger
	launcher process.Launcher
	output   logBuffer
	requests chan request
	running  atomic.Bool

	bytesIn, bytesOut atomic.Uint64

	mu     sync.Mutex
	status Status

	// The rest belongs to Run.
	servers *serverList
	// preferred is the profile of a collection that is to be tried next; empty: as the list says.
	preferred string
	failures  failureCount // attempts that failed since the tunnel was last up
	upSince   time.Time    // zero when not up
	hurriedAt time.Time    // when Reconnect last ended a wait
	// silences holds how long slow servers may be silent, in seconds. startedWith is the value that
	// openvpn was started with, and silentAt the time of the last silence that was too long.
	silences    map[profile.Remote]int
	startedWith int
	silentAt    time.Time
}

// request is what Reconnect, Hurry, Retry and Restart ask of Run. Several may have become one.
type request struct {
	cause                            string
	reconnect, hurry, retry, restart bool
	member                           string // Prefer
}

var tunnelName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,32}$`)

// New checks the configuration. It touches nothing outside.
func New(cfg Config) (*Tunnel, error) {
	fail := func(format string, args ...any) (*Tunnel, error) {
		return nil, fmt.Errorf("tunnel %q: %w", cfg.Name, fmt.Errorf(format, args...))
	}
	switch {
	case !tunnelName.MatchString(cfg.Name):
		return fail("a name has 1 to 32 letters, digits, _ and -")
	case cfg.Profile == nil:
		return fail("it has no profile")
	case cfg.Device == "" || cfg.EnsureDevice == nil:
		return fail("it has no TUN device")
	case cfg.RuntimeDir == "" || cfg.StateDir == "":
		return fail("it has no directories")
	}
	if err := cfg.Profile.CheckCredentials(cfg.Credentials); err != nil {
		return fail("%w", err)
	}
	if cfg.Resolver == nil {
		cfg.Resolver = net.DefaultResolver
	}
	cfg.Log = cmp.Or(cfg.Log, slog.Default())
	log := cfg.Log.With("tunnel", cfg.Name)
	return &Tunnel{
		cfg: cfg,
		log: log,
		launcher: process.Launcher{Dir: filepath.Join(cfg.RuntimeDir, cfg.Name),
			Program: cfg.Program, UID: cfg.UID, GID: cfg.GID, Log: log},
		requests: make(chan request, 1),
		silences: map[profile.Remote]int{},
		status:   Status{State: StateStopped, Since: time.Now()},
	}, nil
}

// Status returns a snapshot.
func (t *Tunnel) Status() Status {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := t.status
	s.Warnings = slices.Clone(s.Warnings)
	s.Servers = t.cfg.Profile.Members()
	s.BytesIn, s.BytesOut = t.bytesIn.Load(), t.bytesOut.Load()
	return s
}

// Log returns the last lines that openvpn said, oldest first.
func (t *Tunnel) Log() []LogLine { return t.output.snapshot() }

// Reconnect asks for a new session, because packets no longer come through or the network changed.
// While up, openvpn connects again; if it does not react it is restarted; if it comes up and is
// asked again within half a minute, the next server is tried. In a wait for a server that does not
// answer, it is tried at once, though not more often than every five seconds. It does nothing while
// a connection is being made already, and does not shorten waits that only a person can end
// (refused credentials, for example). It does not block.
func (t *Tunnel) Reconnect(cause string) { t.ask(request{cause: cause, reconnect: true}) }

// Hurry tells the tunnel whether traffic depends on it now. If so, it ends the wait for a silent
// server, as Reconnect does, and waits begin small again. It leaves a connection as it is. It does
// not block.
func (t *Tunnel) Hurry() { t.ask(request{hurry: true}) }

// Retry ends any wait, because a person may have fixed what was wrong. It
// leaves a connection as it is. It does not block.
func (t *Tunnel) Retry() { t.ask(request{retry: true}) }

// Restart ends openvpn and starts it again at once, whatever the state. It does not block.
func (t *Tunnel) Restart(cause string) { t.ask(request{cause: cause, restart: true}) }

func (t *Tunnel) ask(q request) {
	for {
		select {
		case t.requests <- q:
			return
		default:
		}
		select {
		case old := <-t.requests: // what was asked before is part of what is asked now
			q.reconnect, q.restart = q.reconnect || old.reconnect, q.restart || old.restart
			q.hurry, q.retry = q.hurry || old.hurry, q.retry || old.retry
			q.cause, q.member = cmp.Or(q.cause, old.cause), cmp.Or(q.member, old.member)
		default:
		}
	}
}

// change publishes a new status. The state's time counts from when it last became another.
func (t *Tunnel) change(edit func(*Status)) {
	t.mu.Lock()
	before := t.status.State
	edit(&t.status)
	after := t.status
	if after.State != before {
		t.status.Since = time.Now()
	}
	t.mu.Unlock()
	if after.State != before {
		t.log.Info("tunnel changes state", "state", after.State, "before", before, "cause",
			after.Cause,
			"server", after.Server, "generation", after.Generation)
	}
	if t.cfg.Notify != nil {
		t.cfg.Notify()
	}
}

// enter publishes a state that something other than a failure led to.
func (t *Tunnel) enter(s State) {
	t.change(func(st *Status) {
		st.State, st.NextRetry = s, time.Time{}
	})
}

// waiting publishes the state that a failure led to.
func (t *Tunnel) waiting(f failure, wait time.Duration) {
	t.change(func(st *Status) {
		st.State, st.Cause, st.Remedy = f.state, f.cause, f.remedy
		st.Failures, st.NextRetry = t.failures.all, time.Now().Add(wait)
		if f.state == StatePushRefused {
			st.Session = nil
		}
	})
}

// Run supervises openvpn until ctx ends, and ends it then. It returns nil at the end of ctx, and an
// error only when it runs already: whatever else goes wrong is a state.
func (t *Tunnel) Run(ctx context.Context) error {
	if !t.running.CompareAndSwap(false, true) {
		return errors.New("the tunnel runs already")
	}
	defer t.running.Store(false)
	n := openNames(filepath.Join(t.cfg.StateDir, t.cfg.Name+".names.json"), t.cfg.Resolver,
		t.cfg.Profile.Question)
	n.log = t.log
	t.servers = newServerList(t.cfg.Profile, n, t.cfg.Order)
	t.servers.pace = openPace(filepath.Join(t.cfg.StateDir, t.cfg.Name+".pace.json"))
	t.servers.sort()
	t.servers.measure()
	t.preferred = t.selected()
	t.servers.beginFastRound()
	if t.cfg.PreferChaCha20 {
		t.servers.chacha20 = func(r profile.Remote) bool {
			return t.cfg.Profile.For(r).OffersChaCha20()
		}
	}
	for ctx.Err() == nil {
		if t.preferred != "" {
			t.servers.prefer(t.preferred)
			t.preferred = ""
		}
		f, asked := t.runOnce(ctx)
		if ctx.Err() != nil {
			break
		}
		wait := time.Duration(0)
		if !asked {
			wait = t.nextWait(f)
		}
		t.pause(ctx, f, wait)
	}
	t.change(func(s *Status) {
		*s = Status{State: StateStopped, Since: s.Since, Generation: s.Generation}
	})
	return nil
}

// pause waits before openvpn is started again.
func (t *Tunnel) pause(ctx context.Context, f failure, wait time.Duration) {
	if wait == 0 {
		t.change(func(s *Status) {
			if s.Session == nil {
				return // it was never up: what follows is one more first attempt
			}
			s.State, s.Cause, s.Remedy, s.NextRetry = StateReconnecting, f.cause, f.remedy,
				time.Time{}
			s.PID = 0
		})
		return
	}
	t.waiting(f, wait)
	timer := time.NewTimer(wait)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		case q := <-t.requests:
			if q.hurry {
				t.failures = failureCount{}
			}
			if q.member != "" {
				t.preferred = q.member
			}
			if q.restart || q.retry || t.hurry(f.state) {
				return
			}
		}
	}
}

// hurryInterval is how often a wait is cut short: who asks at each missed probe must not become a
// hammer.
const hurryInterval = 5 * time.Second

// hurry reports whether Reconnect ends the wait in a state.
func (t *Tunnel) hurry(s State) bool {
	if s != StateBackoff && s != StateDNSFailed || time.Since(t.hurriedAt) < hurryInterval {
		return false
	}
	t.hurriedAt = time.Now()
	return true
}

// stableAfter is how long a tunnel must have been up for its loss to count as the first failure.
// The next attempt then follows at once.
const stableAfter = 3 * time.Second

// nextWait counts the end of an attempt or a session and returns how long to wait.
func (t *Tunnel) nextWait(f failure) time.Duration {
	lasted := time.Duration(0)
	if !t.upSince.IsZero() {
		lasted = time.Since(t.upSince)
	}
	t.upSince = time.Time{}
	if lasted >= stableAfter {
		t.failures = failureCount{}
		if f.state == StateBackoff {
			return 0
		}
	}
	t.failures.add(f.state)
	if movesOn(f.state) {
		t.servers.fail()
	}
	return t.failures.wait(f.state, t.servers.size(), rand.Float64())
}

func (t *Tunnel) forbidden() []netip.Prefix {
	if t.cfg.Forbidden == nil {
		return nil
	}
	return t.cfg.Forbidden()
}
