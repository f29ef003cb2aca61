package bridge

import (
	"slices"
	"strings"
	"sync"
)

// doorbell wakes the reconcile loop. However often it rings, the loop wakes once; the causes are
// collected for the log.
type doorbell struct {
	c      chan struct{}
	mu     sync.Mutex
	causes []string
}

// maxCauses bounds what is remembered between two passes.
const maxCauses = 8

func newDoorbell() *doorbell { return &doorbell{c: make(chan struct{}, 1)} }

// ring never blocks.
func (d *doorbell) ring(cause string) {
	d.mu.Lock()
	if len(d.causes) < maxCauses && !slices.Contains(d.causes, cause) {
		d.causes = append(d.causes, cause)
	}
	d.mu.Unlock()
	select {
	case d.c <- struct{}{}:
	default:
	}
}

// cause returns why it rang since the last call, and forgets it.
func (d *doorbell) cause() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	s := strings.Join(d.causes, ", ")
	d.causes = nil
	return s
}
