package api

import (
	"context"
	"errors"
	"net/netip"
	"syscall"
)

// Backend is the daemon as the server sees it. Every method may be called from many goroutines.
type Backend interface {
	// Status returns a snapshot that is not older than a second, or the last one there is where a
	// newer one would take longer than that to make. What it returns is not changed later.
	Status() Status
	// Explain says what happens to packets of addr now.
	Explain(addr netip.Addr) (Explanation, error)
	// Plan returns what a reconcile would change now, as shell commands; empty: nothing. It changes
	// nothing.
	Plan(ctx context.Context) (string, error)
	// Changes returns a channel (capacity one) that gets a value when Status has something new. It
	// is released when ctx ends; the channel need not be closed then.
	Changes(ctx context.Context) <-chan struct{}
	// Use makes the named egress the first choice of every policy that lists it, now and after a
	// restart. ErrNotFound: there is no such egress.
	Use(ctx context.Context, egress string) error
	// Reset forgets the choice made by Use. It is nil when there was none.
	Reset(ctx context.Context) error
	// Reload reads the configuration again. On an error the running configuration stays, and the
	// status tells of it until a reload succeeds, or ForgetReload.
	Reload(ctx context.Context) error
	// ForgetReload ends what the status tells of a reload that was refused: the running
	// configuration is meant to stay. It is nil when none was.
	ForgetReload(ctx context.Context) error
}

// ErrNotFound reports that something named in a request does not exist. It is told apart on both
// ends of the socket.
var ErrNotFound = errors.New("not found")

// NotFound returns an error that is ErrNotFound and says no more than text.
func NotFound(text string) error { return &notFound{text} }

// HintedError is an error together with what a person can do about it; the hint crosses the socket.
type HintedError struct {
	Err  error
	Hint string // imperative
}

func (e *HintedError) Error() string { return e.Err.Error() }

// Unwrap returns the error without its hint.
func (e *HintedError) Unwrap() error { return e.Err }

// Hint returns the hint of an error, empty if there is none. What a disk refuses has one.
func Hint(err error) string {
	if hinted, ok := errors.AsType[*HintedError](err); ok {
		return hinted.Hint
	}
	switch {
	case errors.Is(err, syscall.ENOSPC):
		return "the disk is full: see what fills it (df -h), make room, and try again"
	case errors.Is(err, syscall.EROFS):
		return "the disk is read-only: see why: dmesg"
	}
	return ""
}

// Hints say what can be done about errors, by what errors.Is takes them for.
type Hints []struct {
	Is   error
	Hint string
}

// Add returns err with the first hint that is for it; err itself, also nil, if none is.
func (h Hints) Add(err error) error {
	for _, one := range h {
		if errors.Is(err, one.Is) {
			return &HintedError{Err: err, Hint: one.Hint}
		}
	}
	return err
}
