package services

import (
	"slices"
	"strings"
	"sync"
)

// Trigger wakes the reconcile loop. However often it fires, the loop wakes once; the causes are
// collected for the log.
type Trigger struct {
	C      chan struct{}
	mu     sync.Mutex
	causes []string
}

// maxCauses limits the causes that are collected between two passes.
const maxCauses = 8

// NewTrigger returns a trigger that has not fired.
func NewTrigger() *Trigger { return &Trigger{C: make(chan struct{}, 1)} }

// Fire wakes the loop for a cause. It never blocks.
func (d *Trigger) Fire(cause string) {
	d.mu.Lock()
	if len(d.causes) < maxCauses && !slices.Contains(d.causes, cause) {
		d.causes = append(d.causes, cause)
	}
	d.mu.Unlock()
	select {
	case d.C <- struct{}{}:
	default:
	}
}

// Cause returns the causes since the last call, and forgets them.
func (d *Trigger) Cause() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := strings.Join(d.causes, ", ")
	d.causes = nil
	return s
}
