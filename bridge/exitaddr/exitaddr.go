package exitaddr

import (
	"context"
	"crypto/x509"
	"log/slog"
	"sync"
	"time"

	"ztbridge/bridge/pathdial"
)

const (
	// debounce is how long a path must have been as it is before it is asked about.
	debounce = 2 * time.Second
	// leastPause is the shortest time between two questions about a path, however often it
	// changes: a tunnel that comes and goes must not flood the services.
	leastPause = time.Minute
	// again is when a path that did not change is asked about again.
	again = 12 * time.Hour
	// retryFirst and retryMax bound the pause after no service has answered.
	retryFirst = time.Minute
	retryMax   = 2 * time.Hour
)

// Path is the path through one egress by one IP version. Without a resolver, services with names
// are not asked.
type Path struct {
	pathdial.Path
	Key string // names it in Status; unique
	// Session changes when the address may be another one: what was answered before is forgotten.
	Session string
	InUse   bool // else nobody is asked, and what is known stays
}

// Config says whom to ask.
type Config struct {
	Services []string       // URLs, in order of preference
	Roots    *x509.CertPool // that vouch for them; nil: the system's
	Notify   func()         // called when an answer came that differs from the last; must not block
	Logger   *slog.Logger
}

// Asker asks for the address of each of its paths. Safe for concurrent use.
type Asker struct {
	cfg  Config
	wake chan struct{}

	mu    sync.Mutex
	paths map[string]*pathState
}

type pathState struct {
	Path
	answer Answer
	asked  time.Time     // when it was last begun to ask
	due    time.Time     // when to ask next
	wait   time.Duration // the pause after the last failure
}

// New returns an asker without paths.
func New(cfg Config) *Asker {
	return &Asker{cfg: cfg, wake: make(chan struct{}, 1), paths: map[string]*pathState{}}
}

// Set replaces the paths. Idempotent, does not block.
func (a *Asker) Set(paths []Path) {
	a.mu.Lock()
	defer a.mu.Unlock()
	next, now := map[string]*pathState{}, time.Now()
	for _, p := range paths {
		st := a.paths[p.Key]
		switch {
		case st == nil:
			st = &pathState{due: now.Add(debounce)}
		case st.Session != p.Session:
			st.answer, st.wait = Answer{}, 0
			st.due = now.Add(debounce)
			if soonest := st.asked.Add(leastPause); soonest.After(st.due) {
				st.due = soonest
			}
		}
		st.Path = p
		next[p.Key] = st
	}
	a.paths = next
	select {
	case a.wake <- struct{}{}:
	default:
	}
}

// Status returns the last answer of each path that has one, by its key.
func (a *Asker) Status() map[string]Answer {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := map[string]Answer{}
	for key, st := range a.paths {
		if st.answer.Addr.IsValid() {
			out[key] = st.answer
		}
	}
	return out
}

// Run asks until ctx ends, and returns nil then.
func (a *Asker) Run(ctx context.Context) error {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-a.wake:
		}
		now := time.Now()
		var asking sync.WaitGroup
		for _, p := range a.begin(now) {
			asking.Go(func() { a.record(ctx, p, a.askAll(ctx, p)) })
		}
		asking.Wait()
		timer.Reset(max(time.Until(a.next(now)), 0))
	}
}

// begin returns the paths that are to be asked about now.
func (a *Asker) begin(now time.Time) []Path {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []Path
	for _, st := range a.paths {
		if st.InUse && !st.due.After(now) {
			st.asked, st.due = now, now.Add(again)
			out = append(out, st.Path)
		}
	}
	return out
}

// next returns when the next path is due.
func (a *Asker) next(now time.Time) time.Time {
	a.mu.Lock()
	defer a.mu.Unlock()
	at := now.Add(again)
	for _, st := range a.paths {
		if st.InUse && st.due.Before(at) {
			at = st.due
		}
	}
	return at
}

// askAll asks one service after the other until one answers; the zero Answer if none does.
func (a *Asker) askAll(ctx context.Context, p Path) Answer {
	for _, service := range a.cfg.Services {
		answer, err := a.ask(ctx, p, service)
		if err == nil {
			return answer
		}
		a.cfg.Logger.Debug("asking for the exit address failed", "path", p.Key,
			"service", service, "error", err)
	}
	return Answer{}
}

// record keeps an answer, unless the path became another one meanwhile.
func (a *Asker) record(ctx context.Context, p Path, answer Answer) {
	a.mu.Lock()
	st := a.paths[p.Key]
	if ctx.Err() != nil || st == nil || st.Session != p.Session {
		a.mu.Unlock()
		return
	}
	changed := false
	if answer.Addr.IsValid() {
		changed = answer.Addr != st.answer.Addr || answer.Country != st.answer.Country
		st.answer, st.wait = answer, 0
	} else {
		st.wait = min(max(2*st.wait, retryFirst), retryMax)
		st.due = time.Now().Add(st.wait)
	}
	a.mu.Unlock()
	if changed {
		a.cfg.Logger.Info("exit address", "path", p.Key, "address", answer.Addr,
			"country", answer.Country, "service", answer.Service)
		a.cfg.Notify()
	}
}
