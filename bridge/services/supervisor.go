package services

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"time"
)

// taskRestart is the pause before a task that failed is started again.
const taskRestart = 2 * time.Second

// task is a driver that runs until its context ends.
type task struct {
	// key identifies the task together with everything that it was configured with: while the key
	// stays the same, the task is left alone.
	key string
	run func(context.Context) error
}

// keyOf identifies a driver by the content of its settings, what they point to included. They must
// hold no secret: secrets look alike.
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
	running map[string]*running
}

type running struct {
	cancel context.CancelFunc
	done   chan struct{}
}

func newSupervisor(ctx context.Context, log *slog.Logger) *supervisor {
	return &supervisor{ctx: ctx, log: log, running: map[string]*running{}}
}

// set makes the running tasks equal to tasks: what is no longer listed is stopped, and has ended
// when set returns; what is new is started.
func (s *supervisor) set(tasks []task) {
	wanted := map[string]bool{}
	for _, t := range tasks {
		wanted[t.key] = true
	}
	var ending []*running
	for key, r := range s.running {
		if !wanted[key] {
			r.cancel()
			ending = append(ending, r)
			delete(s.running, key)
		}
	}
	for _, r := range ending {
		<-r.done
	}
	for _, t := range tasks {
		if s.running[t.key] == nil {
			s.running[t.key] = s.start(t)
		}
	}
}

// start runs a task, again and again should it fail: a driver that ends early is a fault of its own
// and must not take the others down with it.
func (s *supervisor) start(t task) *running {
	ctx, cancel := context.WithCancel(s.ctx)
	r := &running{cancel: cancel, done: make(chan struct{})}
	go func() {
		defer close(r.done)
		for {
			err := t.run(ctx)
			if ctx.Err() != nil {
				return
			}
			if err != nil && !errors.Is(err, context.Canceled) {
				s.log.Error("task failed", "task", t.key, "error", err)
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(taskRestart):
			}
		}
	}()
	return r
}
