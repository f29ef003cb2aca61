package history

import (
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.etcd.io/bbolt"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func newStore(t testing.TB) *Store {
	t.Helper()
	return New(filepath.Join(t.TempDir(), FileName), slog.New(slog.DiscardHandler))
}

// carried is a status of one egress that has carried so much since its interface exists.
func carried(at time.Time, in, out uint64) api.Status {
	return api.Status{Time: at, State: api.Working, WAN: api.WAN{Up: true},
		Egresses: []api.Egress{{Name: "provider", State: "up", Usable: true, RTT: 0.02,
			Counters: api.Counters{BytesIn: in, BytesOut: out}}}}
}

func flush(t testing.TB, s *Store, now time.Time) {
	t.Helper()
	if err := s.Flush(now); err != nil {
		t.Fatal(err)
	}
}

func series(t testing.TB, s *Store, span api.Span, now time.Time) []api.Point {
	t.Helper()
	points, err := s.Series(api.HistoryQuery{Kind: kindEgress, Name: "provider", Span: span}, now)
	if err != nil {
		t.Fatal(err)
	}
	return points
}

func sum(points []api.Point) (in, out uint64, known int) {
	for _, p := range points {
		in, out, known = in+p.BytesIn, out+p.BytesOut, known+p.Minutes
	}
	return in, out, known
}

// What was counted is found again in every span, before and after a write, by the same daemon and
// by the next one.
func TestSeries(t *testing.T) {
	s := newStore(t)
	for i := range 90 {
		s.Observe(carried(noon.Add(time.Duration(i)*time.Minute), uint64(i)*1000, uint64(i)*10))
	}
	now := noon.Add(89 * time.Minute)
	look := func(when string, s *Store) {
		t.Helper()
		for span, want := range map[api.Span][3]int{api.LastHour: {60_000, 600, 61},
			api.LastDay: {89_000, 890, 90}, api.LastMonth: {89_000, 890, 90},
			api.LastYear: {89_000, 890, 90}} {
			in, out, known := sum(series(t, s, span, now))
			if got := [3]int{int(in), int(out), known}; span == api.LastHour && got[0] < want[0] ||
				span != api.LastHour && got != want {
				t.Errorf("%s, %s: %v, want %v", when, span, got, want)
			}
		}
	}
	look("in memory", s)
	flush(t, s, now)
	look("written", s)
	look("by another", New(s.path, s.log))
	p := series(t, s, api.LastHour, now)
	if last := p[len(p)-1]; last.BytesIn != 1000 || last.Up != 1 || last.RTT != 0.02 ||
		!last.At.Equal(now) {
		t.Errorf("the last minute: %+v", last)
	}
	if _, err := s.Series(api.HistoryQuery{Kind: kindEgress, Name: "other", Span: api.LastDay},
		now); !errors.Is(err, api.ErrNotFound) {
		t.Errorf("an egress that never was: %v", err)
	}
}

// An interface that is made again counts from zero; a restart of the daemon loses no minute and
// counts none twice.
func TestCountersBeginAgain(t *testing.T) {
	s := newStore(t)
	s.Observe(carried(noon, 5000, 0))
	s.Observe(carried(noon.Add(time.Minute), 6000, 0))
	s.Observe(carried(noon.Add(2*time.Minute), 300, 0))
	flush(t, s, noon.Add(3*time.Minute))
	s = New(s.path, s.log)
	s.Observe(carried(noon.Add(4*time.Minute), 400, 0))
	s.Observe(carried(noon.Add(5*time.Minute), 500, 0))
	flush(t, s, noon.Add(5*time.Minute))
	flush(t, s, noon.Add(6*time.Minute))
	if in, _, known := sum(series(t, s, api.LastHour, noon.Add(6*time.Minute))); in != 1400 ||
		known != 5 {
		t.Errorf("%d bytes in %d minutes, want 1400 in 5", in, known)
	}
}

// What is carried while no history is wanted is counted in no minute.
func TestSwitchedOffMeanwhile(t *testing.T) {
	s := newStore(t)
	s.Observe(carried(noon, 5000, 0))
	s.Observe(carried(noon.Add(time.Minute), 6000, 0))
	s.Observe(api.Status{}) // as Recorder does
	s.Observe(carried(noon.Add(20*time.Minute), 900_000, 0))
	s.Observe(carried(noon.Add(21*time.Minute), 900_500, 0))
	if in, _, known := sum(series(t, s, api.LastHour, noon.Add(30*time.Minute))); in != 1500 ||
		known != 4 {
		t.Errorf("%d bytes in %d minutes, want 1500 in 4", in, known)
	}
}

func TestChanges(t *testing.T) {
	s := newStore(t)
	s.Observe(carried(noon, 0, 0))
	down := carried(noon.Add(time.Minute), 0, 0)
	down.State, down.Summary = api.Closed, "No exit is connected."
	down.Egresses[0].State = "reconnecting"
	down.Egresses[0].LastChange = api.Change{At: noon.Add(50 * time.Second), Cause: "no answer"}
	down.Conditions = []api.Condition{{Code: health.TunnelReconnecting, Subject: "provider",
		Severity: health.Warning, Message: "reconnecting"}, {Code: health.EgressChosen,
		Severity: health.Info, Message: "chosen"}}
	s.Observe(down)
	s.Observe(down)
	flush(t, s, noon.Add(2*time.Minute))
	s.Observe(carried(noon.Add(3*time.Minute), 0, 0))
	got, err := s.Changes(api.LastDay, 10, noon.Add(4*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for _, c := range got {
		lines = append(lines, fmt.Sprintf("%s %s %s: %s (%s)", c.At.Format("04:05"), c.Kind, c.Name,
			c.What, c.Cause))
	}
	want := []string{
		"03:00 box : closed → working ()", "03:00 egress provider: reconnecting → up ()",
		"03:00 problem tunnel-reconnecting provider: ended ()",
		"01:00 box : working → closed (No exit is connected.)",
		"01:00 problem tunnel-reconnecting provider: began (reconnecting)",
		"00:50 egress provider: up → reconnecting (no answer)",
	}
	slices.Sort(lines)
	slices.Sort(want)
	if diff := cmp.Diff(want, lines); diff != "" {
		t.Error(diff)
	}
	if !slices.IsSortedFunc(got, func(a, b api.PastChange) int { return b.At.Compare(a.At) }) {
		t.Error("the newest does not come first")
	}
	got, err = s.Changes(api.LastHour, 2, noon.Add(4*time.Minute))
	if err != nil || len(got) != 2 {
		t.Errorf("two at most: %v, %v", got, err)
	}
}

// Whatever becomes of the file: no panic, the next write succeeds or says why not, and what is in
// memory is still shown.
func TestDamagedFile(t *testing.T) {
	good := newStore(t)
	for i := range 600 {
		good.Observe(carried(noon.Add(time.Duration(i)*time.Minute), uint64(i)<<20, uint64(i)<<10))
	}
	flush(t, good, noon.Add(600*time.Minute))
	whole, err := os.ReadFile(good.path)
	if err != nil {
		t.Fatal(err)
	}
	for name, spoil := range map[string]func(path string) error{
		"no database": func(path string) error {
			return os.WriteFile(path, []byte(strings.Repeat("no database ", 2000)), 0o600)
		},
		"empty":          func(path string) error { return os.WriteFile(path, nil, 0o600) },
		"cut to a page":  func(path string) error { return os.Truncate(path, 4096) },
		"cut to 3 pages": func(path string) error { return os.Truncate(path, 3*4096) },
		"half":           func(path string) error { return os.Truncate(path, int64(len(whole)/2)) },
		"zeros behind the head": func(path string) error {
			data := slices.Clone(whole)
			clear(data[8192:])
			return os.WriteFile(path, data, 0o600)
		},
		"noise behind the head": func(path string) error {
			data := slices.Clone(whole)
			r := rand.New(rand.NewPCG(1, 2))
			for i := 8192; i < len(data); i++ {
				data[i] = byte(r.Uint32())
			}
			return os.WriteFile(path, data, 0o600)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			if err := os.WriteFile(s.path, whole, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := spoil(s.path); err != nil {
				t.Fatal(err)
			}
			now := noon.Add(700 * time.Minute)
			s.Observe(carried(now, 0, 0))
			s.Observe(carried(now, 7, 0))
			if in, _, _ := sum(series(t, s, api.LastHour, now)); in != 7 {
				t.Errorf("%d bytes are shown", in)
			}
			if err := s.Flush(now); err != nil {
				t.Fatalf("the next write: %v", err)
			}
			if in, _, _ := sum(series(t, New(s.path, s.log), api.LastHour, now)); in != 7 {
				t.Errorf("%d bytes are on the disk", in)
			}
		})
	}
}

// A disk that takes nothing is told as a problem, and costs what memory does not hold.
func TestDiskThatTakesNothing(t *testing.T) {
	s := newStore(t)
	s.path = filepath.Join(filepath.Dir(s.path), "absent", FileName)
	for i := range 40 * 60 {
		s.Observe(carried(noon.Add(time.Duration(i)*time.Minute), uint64(i), 0))
	}
	now := noon.Add(40 * time.Hour)
	if err := s.Flush(now); err == nil || s.Problem() == nil {
		t.Fatal("nothing is said")
	}
	if len(s.mem.hours) > maxHours {
		t.Errorf("%d hours are in memory", len(s.mem.hours))
	}
	if err := os.Mkdir(filepath.Dir(s.path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := s.Flush(now); err != nil || s.Problem() != nil {
		t.Errorf("when it takes something again: %v, %v", err, s.Problem())
	}
	if in, _, _ := sum(series(t, s, api.LastMonth, now)); in < 23*60 {
		t.Errorf("%d bytes were kept", in)
	}
}

// A clock that was wrong for a while costs a little of the past, not all.
func TestClockJumps(t *testing.T) {
	s := newStore(t)
	for i := range 200 {
		s.Observe(carried(noon.Add(time.Duration(i)*time.Hour), uint64(i)*100, 0))
	}
	now := noon.Add(200 * time.Hour)
	flush(t, s, now)
	before := countHours(t, s)
	s.Observe(carried(now.AddDate(10, 0, 0), 20_000, 0))
	flush(t, s, now.AddDate(10, 0, 0))
	s.Observe(carried(time.Unix(0, 0), 20_100, 0))
	flush(t, s, time.Unix(0, 0))
	s.Observe(carried(now, 20_200, 0))
	flush(t, s, now)
	if after := countHours(t, s); after < before-forgetAtOnce {
		t.Errorf("%d hours of %d are left", after, before)
	}
	if p := series(t, s, api.LastHour, now); p[len(p)-1].BytesIn == 0 {
		t.Error("nothing is recorded any more")
	}
}

func countHours(t testing.TB, s *Store) (n int) {
	t.Helper()
	err := s.with(func(db *bbolt.DB) error {
		return db.View(func(tx *bbolt.Tx) error {
			n = tx.Bucket(thing{kindEgress, "provider"}.bucket()).Stats().KeyN
			return nil
		})
	}, true)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// A box with eight egresses and four ingresses, all of them busy and changing all the time, takes
// at most 5 MB a month.
func TestSizeOfMonth(t *testing.T) {
	t.Parallel()
	s := newStore(t)
	r := rand.New(rand.NewPCG(1, 2))
	status := api.Status{State: api.Working}
	for i := range 8 {
		status.Egresses = append(status.Egresses, api.Egress{Name: fmt.Sprint("egress-", i)})
	}
	for i := range 4 {
		status.Ingresses = append(status.Ingresses,
			api.Ingress{Name: fmt.Sprint("in-", i), State: "up"})
	}
	writes := 0
	for minute := range 31 * 24 * 60 {
		status.Time = noon.Add(time.Duration(minute) * time.Minute)
		for i := range status.Egresses {
			e := &status.Egresses[i]
			e.Counters.BytesIn += r.Uint64N(1 << 31)
			e.Counters.BytesOut += r.Uint64N(1 << 31)
			e.RTT, e.Loss, e.Usable = r.Float64(), r.Float64(), minute%3 == 0
			e.State = []string{"up", "degraded", "reconnecting"}[r.IntN(3)]
			e.LastChange = api.Change{At: status.Time, Cause: strings.Repeat("cause ", 10)}
		}
		for i := range status.Ingresses {
			status.Ingresses[i].Counters.BytesIn += r.Uint64N(1 << 31)
			status.Ingresses[i].Counters.BytesOut += r.Uint64N(1 << 31)
		}
		s.Observe(status)
		if minute%360 == 359 { // more often would only take longer
			flush(t, s, status.Time)
			writes++
		}
	}
	info, err := os.Stat(s.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d writes, %.2f MB", writes, float64(info.Size())/1e6)
	if info.Size() > 5e6 {
		t.Errorf("a month takes %.2f MB", float64(info.Size())/1e6)
	}
}

// FuzzBlock: what is no block is refused, and what is one survives being written again.
func FuzzBlock(f *testing.F) {
	b := block{0: {taken: true, up: true, in: 1, out: math.MaxUint64, rtt: 3, loss: 100},
		59: {taken: true}}
	for _, step := range steps {
		f.Add(b.encode(step))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var b, again block
		if b.decode(data) != nil {
			return
		}
		if err := again.decode(b.encode(1)); err != nil || again != b {
			t.Errorf("%v, another block", err)
		}
	})
}
