package history

import (
	"context"
	"log/slog"
	"path/filepath"
	"sync/atomic"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
)

// Recorder keeps the history of a running daemon as its configuration asks for. It implements
// api.HistoryBackend.
type Recorder struct {
	store *Store
	on    atomic.Bool
}

// NewRecorder returns a recorder that keeps nothing yet. Its file is in the state directory.
func NewRecorder(stateDir string, log *slog.Logger) *Recorder {
	return &Recorder{store: New(filepath.Join(stateDir, FileName), log)}
}

// Keep says whether a history is wanted, and returns what is wrong with it: no problem, or one.
func (r *Recorder) Keep(wanted bool) []health.Problem {
	r.on.Store(wanted)
	if p := r.store.Problem(); p != nil && wanted {
		return []health.Problem{*p}
	}
	return nil
}

// Devices returns what each device had sent and received when it was last written; none where that
// cannot be read, which is logged.
func (r *Recorder) Devices() []api.DeviceTraffic {
	list, err := r.store.Devices()
	if err != nil {
		r.store.log.Warn("the devices' totals begin again", "error", err)
	}
	return list
}

// Run records until ctx ends. status must cost no pass; changes tells when it has something new.
func (r *Recorder) Run(ctx context.Context, status func() api.Status, changes <-chan struct{}) {
	r.store.Run(ctx, func() api.Status {
		if !r.on.Load() {
			return api.Status{}
		}
		return status()
	}, changes)
}

// Series implements api.HistoryBackend.
func (r *Recorder) Series(q api.HistoryQuery) ([]api.Point, error) {
	if !r.on.Load() {
		return nil, api.ErrNoHistory
	}
	return r.store.Series(q, time.Now())
}

// PastChanges implements api.HistoryBackend.
func (r *Recorder) PastChanges(span api.Span, limit int) ([]api.PastChange, error) {
	if !r.on.Load() {
		return nil, api.ErrNoHistory
	}
	return r.store.Changes(span, limit, time.Now())
}
