package history

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
)

const (
	// FileName is the history's name in the state directory.
	FileName = "history.db"

	// flushEvery is the time between two writes: a power cut costs that much of the past, and an SD
	// card is written to seldom.
	flushEvery = 5 * time.Minute
	// keep is how long the past is remembered.
	keep = 2 * 365 * 24 * time.Hour
	// hourBudget bounds the samples of an hour, in bytes: with changes and what the database needs
	// besides, a month stays below 5 MB. Where there are more series, they are coarser.
	hourBudget = 3000
	// forgetAtOnce bounds the hours of a series that one write forgets: a clock that is wrong for a
	// while must not cost everything.
	forgetAtOnce = 48
	openTimeout  = 2 * time.Second
	// growBy is how much the file grows at once, in bytes; bbolt would double it.
	growBy = 128 << 10
	// leastSize is the size of a database with nothing in it: four pages, of at least 4 KiB.
	leastSize = 4 * 4096
)

var changesBucket = []byte("changes")

// Store remembers. Its methods may be called by several goroutines at once; none waits for the
// network, and only Flush, Series, Changes and Devices wait for the disk.
type Store struct {
	path string
	log  *slog.Logger
	disk sync.Mutex // one at a time has the file open
	mu   sync.Mutex
	mem  memory
	// trouble is why the last write failed; nil if it did not.
	trouble error
}

// New returns the history in a file, which is made by the first write.
func New(path string, log *slog.Logger) *Store {
	return &Store{path: path, log: log, mem: newMemory()}
}

// Run records until ctx ends, and writes what is left. status must cost no pass; changes tells when
// it has something new.
func (s *Store) Run(ctx context.Context, status func() api.Status, changes <-chan struct{}) {
	minute, flush := time.NewTicker(time.Minute), time.NewTicker(flushEvery)
	defer minute.Stop()
	defer flush.Stop()
	for {
		select {
		case <-ctx.Done():
			s.Observe(status())
			s.flush(time.Now())
			return
		case <-changes:
			s.Observe(status())
		case <-minute.C:
			s.Observe(status())
		case <-flush.C:
			s.flush(time.Now())
		}
	}
}

func (s *Store) flush(now time.Time) {
	before := s.Problem()
	err := s.Flush(now)
	if err != nil && before == nil {
		s.log.Warn("the history cannot be written", "error", err)
	}
}

// Observe takes over a status.
func (s *Store) Observe(status api.Status) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.mem.observe(status)
}

// Problem returns what keeps the history from being written, nil if nothing does.
func (s *Store) Problem() *health.Problem {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.trouble == nil {
		return nil
	}
	return &health.Problem{Code: health.HistoryFailed,
		Message: "the history of traffic and states cannot be written: " + s.trouble.Error(),
		Remedy:  "see whether the disk is full or read-only: df -h " + s.path}
}

// Flush writes what is not on the disk yet. On an error it is kept, as far as it is not too much.
func (s *Store) Flush(now time.Time) error {
	s.mu.Lock()
	hours := map[time.Time]map[thing]block{}
	for hour, things := range s.mem.hours {
		hours[hour] = map[thing]block{}
		for t, b := range things {
			hours[hour][t] = *b
		}
	}
	changes := slices.Clone(s.mem.changes)
	devices := s.mem.devices
	s.mu.Unlock()
	if len(hours) == 0 && len(changes) == 0 && !devices.changed() {
		return nil
	}
	err := s.with(func(db *bbolt.DB) error {
		return db.Update(func(tx *bbolt.Tx) error {
			return errors.Join(devices.write(tx), write(tx, now, hours, changes))
		})
	}, false)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.trouble = err
	if err == nil {
		s.mem.devices.written = devices.now
		late := s.mem.changes[min(len(changes), len(s.mem.changes)):]
		s.mem.written(now)
		s.mem.changes = late
	}
	return err
}

func write(tx *bbolt.Tx, now time.Time, hours map[time.Time]map[thing]block,
	changes []api.PastChange) error {
	for hour, things := range hours {
		for t, b := range things {
			bucket, err := tx.CreateBucketIfNotExists(t.bucket())
			if err != nil {
				return err
			}
			var old block
			if data := bucket.Get(hourKey(hour)); data != nil && old.decode(data) == nil {
				b.overlay(old)
				things[t] = b
			}
		}
		step := stepFor(things)
		for t, b := range things {
			bucket := tx.Bucket(t.bucket())
			bucket.FillPercent = 0.9 // keys only grow
			if err := bucket.Put(hourKey(hour), b.encode(step)); err != nil {
				return err
			}
		}
	}
	bucket, err := tx.CreateBucketIfNotExists(changesBucket)
	if err != nil {
		return err
	}
	bucket.FillPercent = 0.9
	for _, c := range changes {
		data, err := json.Marshal(c)
		if err != nil {
			return err
		}
		number, err := bucket.NextSequence()
		if err != nil {
			return err
		}
		if err := bucket.Put(changeKey(c.At, number), data); err != nil {
			return err
		}
	}
	return forget(tx, now.Add(-keep))
}

// changeKey orders changes by time; those of one second as they came.
func changeKey(at time.Time, number uint64) []byte {
	return fmt.Appendf(nil, "%010d-%020d", max(at.Unix(), 0), number)
}

// stepFor returns the finest resolution in which an hour keeps within its budget.
func stepFor(things map[thing]block) int {
	for _, step := range steps {
		size := 0
		for _, b := range things {
			size += len(b.encode(step))
		}
		if size <= hourBudget {
			return step
		}
	}
	return steps[len(steps)-1]
}

// forget removes what is older than a time, a little at once.
func forget(tx *bbolt.Tx, before time.Time) error {
	return tx.ForEach(func(name []byte, b *bbolt.Bucket) error {
		limit := hourKey(before)
		if string(name) == string(changesBucket) {
			limit = changeKey(before, 0)
		}
		var old [][]byte
		c := b.Cursor()
		for k, _ := c.First(); k != nil && string(k) < string(limit) &&
			len(old) < forgetAtOnce; k, _ = c.Next() {
			old = append(old, slices.Clone(k))
		}
		for _, k := range old {
			if err := b.Delete(k); err != nil {
				return err
			}
		}
		return nil
	})
}

// errDamaged is returned for a file that is no database, or a broken one.
var errDamaged = errors.New("the file is damaged")

// with opens the file for one function. A damaged one is put aside, and the history begins again.
func (s *Store) with(do func(*bbolt.DB) error, readOnly bool) error {
	s.disk.Lock()
	defer s.disk.Unlock()
	err := s.guarded(do, readOnly)
	if !damaged(err) {
		return err
	}
	s.log.Warn("the history is damaged and begins again", "file", s.path, "error", err)
	if err := os.Rename(s.path, s.path+".damaged"); err != nil {
		return fmt.Errorf("putting the damaged history aside: %w", err)
	}
	if readOnly {
		return fs.ErrNotExist
	}
	return s.guarded(do, readOnly)
}

// view reads the file, which need not exist.
func (s *Store) view(read func(*bbolt.Tx) error) error {
	err := s.with(func(db *bbolt.DB) error { return db.View(read) }, true)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

func damaged(err error) bool {
	return errors.Is(err, errDamaged) || errors.Is(err, bolterrors.ErrInvalid) ||
		errors.Is(err, bolterrors.ErrChecksum) ||
		errors.Is(err, bolterrors.ErrVersionMismatch)
}

// guarded turns what bbolt does with a damaged file into an error: it panics, and a file that was
// cut short, or a card that fails, is a fault in mapped memory.
func (s *Store) guarded(do func(*bbolt.DB) error, readOnly bool) (err error) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("%w: %v", errDamaged, r)
		}
	}()
	info, err := os.Stat(s.path)
	if err != nil && (readOnly || !errors.Is(err, fs.ErrNotExist)) {
		return err
	}
	if err == nil && info.Size() < leastSize {
		return fmt.Errorf("%w: it was cut to %d bytes", errDamaged, info.Size())
	}
	db, err := bbolt.Open(s.path, 0o600, &bbolt.Options{Timeout: openTimeout, ReadOnly: readOnly,
		FreelistType: bbolt.FreelistMapType})
	if err != nil {
		return fmt.Errorf("opening the history: %w", err)
	}
	db.AllocSize = growBy
	return errors.Join(do(db), db.Close())
}
