package notify

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
	"ztbridge/bridge/pathdial"
	"ztbridge/bridge/statefile"
)

const (
	// fileName is the name, in the state directory, of what was told and what was not.
	fileName = "notify.json"
	// look is how often the machine makes a step though no status changed: durations pass.
	look = 10 * time.Second
	// lookSoon is how often it does while something is to be decided.
	lookSoon = 2 * time.Second
	// testEvery and testBurst bound test messages: a person tries a few times in a row, and no
	// program sends people more by this.
	testEvery = 20 * time.Second
	testBurst = 5
	// sendTimeout bounds one attempt by one path, names and connection included.
	sendTimeout = 12 * time.Second
)

// Target is a sender with a name, and the paths by which its messages may leave, in this order.
type Target struct {
	Name   string
	By     []string
	Sender Sender
}

// Notifier keeps the machine and delivers what it decides. Safe for concurrent use.
type Notifier struct {
	path string
	log  *slog.Logger
	box  string
	news func()
	wake chan struct{}
	test *rate.Limiter

	mu       sync.Mutex
	settings Settings
	targets  []Target
	paths    map[string][]pathdial.Path
	faults   []health.Problem
}

// New returns a service that tells nobody yet. news is called when Problems returns something
// else than before; it must not block.
func New(stateDir string, news func(), log *slog.Logger) *Notifier {
	name, err := os.Hostname()
	if err != nil {
		name = "ztbridge"
	}
	return &Notifier{path: filepath.Join(stateDir, fileName), log: log, box: name,
		news: news, wake: make(chan struct{}, 1),
		test: rate.NewLimiter(rate.Every(testEvery), testBurst)}
}

// Configure tells these from now on. It does not wait.
func (s *Notifier) Configure(settings Settings, targets []Target) {
	s.mu.Lock()
	s.settings, s.targets = settings, targets
	if len(targets) == 0 {
		s.faults = nil
	}
	s.mu.Unlock()
	s.poke()
}

// SetPaths says by which paths messages can leave now, by name. It does not wait.
func (s *Notifier) SetPaths(paths map[string][]pathdial.Path) {
	s.mu.Lock()
	changed := !reflect.DeepEqual(paths, s.paths)
	s.paths = paths
	s.mu.Unlock()
	if changed {
		s.poke()
	}
}

func (s *Notifier) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// Problems returns which senders have failed and not been able to deliver since.
func (s *Notifier) Problems() []health.Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.faults
}

// outcome is what came of sending a message.
type outcome struct {
	target  string
	numbers []int
	err     error
}

// run is what Run alone knows.
type run struct {
	*Notifier
	machine  *Machine
	kept     *statefile.JSON[json.RawMessage]
	started  time.Time
	base     time.Duration // Elapsed at started
	sending  map[string]bool
	outcomes chan outcome
	paths    map[string][]pathdial.Path // at the last step
	unkept   bool                       // the last attempt to write the file failed
	forgot   bool                       // nobody is told, and nothing is kept
}

// Run tells until ctx ends. status must cost no pass; changes tells when it has something new.
func (s *Notifier) Run(ctx context.Context, status func() api.Status, changes <-chan struct{}) {
	r := &run{Notifier: s, started: time.Now(), sending: map[string]bool{},
		outcomes: make(chan outcome)}
	var sending sync.WaitGroup
	defer sending.Wait()
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-changes:
		case <-s.wake:
		case <-timer.C:
		case o := <-r.outcomes:
			r.finished(o)
		}
		timer.Reset(r.step(ctx, status, &sending))
	}
}

// now returns this moment, by a clock that goes on from where the last process stopped.
func (r *run) now() Moment {
	return Moment{Elapsed: r.base + time.Since(r.started), Wall: time.Now().Round(0)}
}

// step looks at the status and begins to send what is due. It returns when to look again.
func (r *run) step(ctx context.Context, status func() api.Status,
	sending *sync.WaitGroup) time.Duration {
	r.mu.Lock()
	settings, targets, paths := r.settings, r.targets, r.Notifier.paths
	r.mu.Unlock()
	if len(targets) == 0 {
		r.forget()
		return time.Hour
	}
	r.open()
	var names []string
	for _, t := range targets {
		names = append(names, t.Name)
	}
	r.machine.SetSenders(names)
	now := r.now()
	changed := r.machine.Step(now, status(), settings)
	moved := !reflect.DeepEqual(paths, r.paths)
	r.paths = paths
	next := look
	if r.machine.undecided() {
		next = lookSoon
	}
	for _, t := range targets {
		box := r.machine.Outboxes[t.Name]
		if moved && box.NoPath {
			box.RetryAt = now.Elapsed // another path may be there now
		}
		events, at := box.due(now, r.machine.unsure)
		if len(events) == 0 || r.sending[t.Name] {
			if at >= 0 {
				next = min(next, max(at-now.Elapsed, time.Second))
			}
			continue
		}
		r.sending[t.Name] = true
		message := box.compose(now, r.box, events)
		o := outcome{target: t.Name}
		for _, p := range events {
			o.numbers = append(o.numbers, p.Number)
		}
		sending.Go(func() {
			o.err = deliver(ctx, t, paths, message)
			select {
			case r.outcomes <- o:
			case <-ctx.Done():
			}
		})
	}
	if changed {
		r.keep()
	}
	return next
}

// finished notes what came of sending.
func (r *run) finished(o outcome) {
	delete(r.sending, o.target)
	if r.machine == nil || r.machine.Outboxes[o.target] == nil {
		return // taken out of the configuration meanwhile
	}
	box, now := r.machine.Outboxes[o.target], r.now()
	if o.err == nil {
		if box.Failures > 0 {
			r.log.Info("messages are delivered again", "by", o.target)
		}
		box.delivered(now, o.numbers)
	} else {
		var refusal *Refusal
		atLeast := time.Duration(0)
		if errors.As(o.err, &refusal) {
			atLeast = refusal.RetryAfter
		}
		if box.Failures == 0 {
			r.log.Warn("a message cannot be delivered", "by", o.target, "error", o.err)
		}
		box.failed(now, o.err, atLeast)
	}
	r.keep()
	r.tellFaults()
}

// tellFaults makes what Problems returns.
func (r *run) tellFaults() {
	var faults []health.Problem
	for name, box := range r.machine.Outboxes {
		if box.Failures == 0 || len(box.Pending) == 0 {
			continue
		}
		faults = append(faults, health.Problem{Code: health.NotifyFailed, Subject: name,
			Message: fmt.Sprintf("messages cannot be delivered by %s: %s", name, box.Fault),
			Remedy:  box.Remedy})
	}
	slices.SortFunc(faults, func(a, b health.Problem) int {
		return strings.Compare(a.Subject, b.Subject)
	})
	r.mu.Lock()
	if len(r.targets) == 0 {
		faults = nil
	}
	changed := !slices.Equal(faults, r.faults)
	r.faults = faults
	r.mu.Unlock()
	if changed {
		r.news()
	}
}

// NotifyTest implements api.NotifyBackend.
func (s *Notifier) NotifyTest(ctx context.Context, name string) ([]api.Delivery, error) {
	s.mu.Lock()
	targets, paths := slices.Clone(s.targets), s.paths
	s.mu.Unlock()
	if len(targets) == 0 {
		return nil, api.ErrNobodyTold
	}
	if name != "" {
		targets = slices.DeleteFunc(targets, func(t Target) bool { return t.Name != name })
	}
	if len(targets) == 0 {
		return nil, &api.HintedError{Err: fmt.Errorf("testing %s: %w", name, api.ErrNotFound),
			Hint: "the configuration has no such key under notify"}
	}
	if !s.test.Allow() {
		return nil, api.ErrTestsTooOften
	}
	m := Message{Box: s.box, Time: time.Now().UTC(), Severity: health.Info, Events: []Event{},
		Title: s.box + ": test", Text: "This is a test message of ztbridge. Nothing is wrong."}
	out := make([]api.Delivery, len(targets))
	var all sync.WaitGroup
	for i, t := range targets {
		all.Go(func() {
			began := time.Now()
			err := deliver(ctx, t, paths, m)
			out[i] = api.Delivery{Name: t.Name, By: t.By, Seconds: time.Since(began).Seconds()}
			if err != nil {
				out[i].Error, out[i].Hint = err.Error(), remedyOf(err)
			}
		})
	}
	all.Wait()
	return out, nil
}

// deliver sends a message by the first path that takes it.
func deliver(ctx context.Context, t Target, paths map[string][]pathdial.Path, m Message) error {
	var failed error
	for _, by := range t.By {
		err := sendBy(ctx, t, paths[by], m)
		if err == nil {
			return nil
		}
		if _, refused := errors.AsType[*Refusal](err); refused {
			return err // another path would not help
		}
		if failed == nil {
			failed = fmt.Errorf("by %s: %w", by, err)
		} else {
			failed = fmt.Errorf("%w; by %s: %w", failed, by, err)
		}
	}
	return failed
}

func sendBy(ctx context.Context, t Target, paths []pathdial.Path, m Message) error {
	ctx, cancel := context.WithTimeout(ctx, sendTimeout)
	defer cancel()
	return t.Sender.Send(ctx, dialBy(paths), m)
}

// open reads what was told before. What cannot be read is forgotten.
func (r *run) open() {
	if r.machine != nil {
		return
	}
	r.machine, r.forgot = NewMachine(), false
	kept, err := statefile.Open[json.RawMessage](r.path)
	r.kept = kept
	if text := kept.Value(); err == nil && len(text) > 0 {
		err = json.Unmarshal(text, r.machine)
	}
	if err != nil {
		r.log.Warn("what was told before is unknown: it may be told again", "error", err)
		r.machine = NewMachine()
	}
	r.machine.filled()
	r.base, r.started = r.machine.Last.Elapsed, time.Now()
	r.tellFaults()
}

// forget drops all when nobody is to be told: who is named later is not told what was before.
func (r *run) forget() {
	if r.forgot {
		return
	}
	r.machine, r.kept, r.forgot = nil, nil, true
	if err := os.Remove(r.path); err != nil && !errors.Is(err, os.ErrNotExist) {
		r.log.Warn("what was told before cannot be forgotten", "error", err)
	}
}

// keep writes down what was told, so that a restart does not repeat it.
func (r *run) keep() {
	text, err := json.Marshal(r.machine)
	if err == nil {
		err = r.kept.Save(text)
	}
	if err != nil && !r.unkept {
		r.log.Warn("a restart may repeat messages: what was told cannot be written", "error", err)
	}
	r.unkept = err != nil
}
