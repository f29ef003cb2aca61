package services

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"slices"
	"time"
)

// taskRestart is the pause before a task that failed is started again.
const taskRestart = 2 * time.Second

// task is a driver that runs until its context ends.
type task struct {
	// key identifies the task and its settings: while the key stays the same, the task keeps
	// running.
	key string
	// uses names the device or port that the task occupies, if another task may need it. The other
	// one starts after this one has ended. Empty: none.
	uses string
	run  func(context.Context) error
}

// keyOf identifies a driver by its settings, including what they point to. They must not hold
// secrets: all secrets look alike.
func keyOf(name string, settings any) string {
	b, err := json.Marshal(settings)
	if err != nil {
		panic(err) // settings are plain values
	}
	return name + " " + string(b)
}

// supervisor keeps a set of tasks running. It is used by one goroutine.
type supervisor struct {
	ctx     context.Context
	log     *slog.Logger
	ended   func() // called when a task that is no longer wanted has ended; must not block
	running map[string]*running
	ending  []*running // perhaps ended by now
}

type running struct {
	uses   string
	cancel context.CancelFunc
	done   chan struct{} // closed when it has ended
}

func newSupervisor(ctx context.Context, log *slog.Logger, ended func()) *supervisor {
	return &supervisor{ctx: ctx, log: log, ended: ended, running: map[string]*running{}}
}

// set makes the running tasks equal to tasks: it cancels those that are not listed and starts new
// ones. It does not wait.
func (s *supervisor) set(tasks []task) {
	wanted := map[string]bool{}
	for _, t := range tasks {
		wanted[t.key] = true
	}
	s.ending = slices.DeleteFunc(s.ending, (*running).hasEnded)
	for key, r := range s.running {
		if wanted[key] {
			continue
		}
		r.cancel()
		s.ending = append(s.ending, r)
		delete(s.running, key)
		go func() {
			<-r.done
			s.ended()
		}()
	}
	for _, t := range tasks {
		if s.running[t.key] == nil {
			s.running[t.key] = s.start(t)
		}
	}
}

// stop ends all tasks and waits for them, also for those cancelled before.
func (s *supervisor) stop() {
	s.set(nil)
	for _, r := range s.ending {
		<-r.done
	}
}

func (r *running) hasEnded() bool {
	select {
	case <-r.done:
		return true
	default:
		return false
	}
}

// start runs a task after the ending ones that use the same.
func (s *supervisor) start(t task) *running {
	ctx, cancel := context.WithCancel(s.ctx)
	r := &running{uses: t.uses, cancel: cancel, done: make(chan struct{})}
	var before []*running
	for _, e := range s.ending {
		if t.uses != "" && e.uses == t.uses {
			before = append(before, e)
		}
	}
	go func() {
		defer close(r.done)
		for _, e := range before {
			// Also if this task is cancelled: a later one that waits for it needs what e uses.
			<-e.done
		}
		Keep(ctx, s.log, t.key, t.run)
	}()
	return r
}

// Keep runs a task until ctx ends. It runs a task that ends early again, after a pause: the fault
// of one service must not end the others. It logs errors under the task's name, each once while it
// lasts.
func Keep(ctx context.Context, log *slog.Logger, name string, run func(context.Context) error) {
	var fault Repeated
	for ctx.Err() == nil {
		err := run(ctx)
		if ctx.Err() != nil {
			return
		}
		if errors.Is(err, context.Canceled) {
			err = nil
		}
		fault.Warn(log.With("task", name), "task failed", err)
		select {
		case <-ctx.Done():
		case <-time.After(taskRestart):
		}
	}
}
