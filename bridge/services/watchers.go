package services

import (
	"context"
	"sync"
)

// Watchers tells many goroutines that something is new. Safe for concurrent use; the zero value is
// ready.
type Watchers struct {
	mu sync.Mutex
	of map[chan struct{}]bool
}

// Changes returns a channel that has a value whenever something is new since it was read last,
// until ctx ends.
func (w *Watchers) Changes(ctx context.Context) <-chan struct{} {
	c := make(chan struct{}, 1)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.of == nil {
		w.of = map[chan struct{}]bool{}
	}
	w.of[c] = true
	context.AfterFunc(ctx, func() {
		w.mu.Lock()
		defer w.mu.Unlock()
		delete(w.of, c)
	})
	return c
}

// Notify says that something is new. It does not wait.
func (w *Watchers) Notify() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for c := range w.of {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}
