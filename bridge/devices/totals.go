package devices

import (
	"cmp"
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/decide"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

const (
	// maxTotals bounds the devices that are counted one by one; the rest is counted together.
	maxTotals = 512
	// maxByAddress bounds those of one ingress that nothing but an address tells apart: whoever
	// sends from thousands must leave room for others.
	maxByAddress = 96
	// maxSilence is how long a device keeps its entry without traffic when another needs it.
	maxSilence = 30 * 24 * time.Hour
	// readEvery must be shorter than the time after which the kernel forgets a silent address.
	readEvery = time.Minute
	// fresh is how old the totals may be that are shown.
	fresh = 5 * time.Second
)

// Totals counts what each device sent and received. Safe for concurrent use. Make it with
// NewTotals.
type Totals struct {
	accounts accounts
	view     func() (*View, error)
	log      *slog.Logger
	unset    string // the last error of Follow

	mu     sync.Mutex
	list   map[totalKey]*api.DeviceTraffic
	at     time.Time // of the last reading
	unread string    // the last error of reading
}

// accounts is kernel.Accounting.
type accounts interface {
	Set(want []kernel.Counted) error
	Read() (kernel.Usage, error)
}

// totalKey tells devices apart; the zero value stands for those that have no entry of their own.
type totalKey struct{ kind, network, id string }

func keyOf(t api.DeviceTraffic) totalKey {
	if t.Kind == api.OtherDevices {
		return totalKey{}
	}
	return totalKey{t.Kind, t.Network, t.ID}
}

// NewTotals returns totals that count nothing yet, in the network namespace of the caller.
func NewTotals(view func() (*View, error), log *slog.Logger) *Totals {
	return &Totals{accounts: kernel.NewAccounting(), view: view, log: log,
		list: map[totalKey]*api.DeviceTraffic{}}
}

// Resume goes on from the totals of earlier runs. Call it before anything is counted.
func (t *Totals) Resume(before []api.DeviceTraffic) {
	for _, d := range before {
		t.list[keyOf(d)] = &d
	}
}

// Follow counts the devices behind an intent's ingresses from now on. It belongs to one goroutine.
// An error is logged once.
func (t *Totals) Follow(intent policyroute.Intent) {
	t.warn(&t.unset, t.accounts.Set(decide.Counted(intent)))
}

func (t *Totals) warn(before *string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != *before {
		t.log.Warn("what devices send and receive is not counted", "error", err)
	}
	*before = text
}

// Run counts until ctx ends.
func (t *Totals) Run(ctx context.Context) {
	tick := time.NewTicker(readEvery)
	defer tick.Stop()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-tick.C:
			t.Count(time.Now())
		}
	}
}

// Traffic returns the totals, a few seconds old at most.
func (t *Totals) Traffic(now time.Time) []api.DeviceTraffic {
	t.mu.Lock()
	defer t.mu.Unlock()
	if now.Sub(t.at) > fresh || now.Before(t.at) {
		t.count(now)
	}
	out := make([]api.DeviceTraffic, 0, len(t.list))
	for _, d := range t.list {
		out = append(out, *d)
	}
	slices.SortFunc(out, func(a, b api.DeviceTraffic) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Network, b.Network),
			cmp.Compare(a.ID, b.ID))
	})
	return out
}

// Count reads the counters now. It does not block but for the kernel.
func (t *Totals) Count(now time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.count(now)
}

func (t *Totals) count(now time.Time) {
	view, err := t.view()
	if err != nil {
		return // nothing is in force, so that nothing passes
	}
	t.at = now
	usage, err := t.accounts.Read()
	if t.warn(&t.unread, err); err != nil {
		return
	}
	owners := view.owners()
	for addr, b := range usage.Addrs {
		device, ingress := owners.of(addr)
		e := t.entry(device, ingress, now)
		count(e, policyroute.FamilyOf(addr), b, now)
		if e.Kind != api.OtherDevices {
			e.Ingress, e.Name = ingress, view.state(device).Title()
		}
	}
	for f, b := range usage.Other {
		if b == (kernel.Bytes{}) {
			continue
		}
		count(t.other(now), f, b, now)
	}
}

// count adds bytes of one IP version to an entry.
func count(e *api.DeviceTraffic, f policyroute.Family, b kernel.Bytes, now time.Time) {
	of := &e.IPv4
	if f == policyroute.V6 {
		of = &e.IPv6
	}
	add(of, b)
	e.Last = now.UTC()
}

func add(t *api.Traffic, b kernel.Bytes) {
	t.Sent, t.Received = t.Sent+b.Sent, t.Received+b.Received
}

// entry returns the entry of a device, which may be the one of all others.
func (t *Totals) entry(d decide.Device, ingress string, now time.Time) *api.DeviceTraffic {
	e := api.DeviceTraffic{Kind: d.Kind(), ID: d.String(), Network: d.Network, Ingress: ingress,
		Since: now.UTC()}
	key := keyOf(e)
	if have := t.list[key]; have != nil {
		return have
	}
	all := func(o *api.DeviceTraffic) bool { return o.Kind != api.OtherDevices }
	alike := func(o *api.DeviceTraffic) bool { return o.Kind == e.Kind && o.Ingress == ingress }
	if d.Kind() == "address" && !t.room(maxByAddress, now, alike) || !t.room(maxTotals, now, all) {
		return t.other(now)
	}
	t.list[key] = &e
	return &e
}

// room reports whether there are fewer entries of a sort than limit. It counts one that was silent
// for long to the others, if that makes room.
func (t *Totals) room(limit int, now time.Time, sort func(*api.DeviceTraffic) bool) bool {
	n := 0
	var oldest *api.DeviceTraffic
	for _, d := range t.list {
		if !sort(d) {
			continue
		}
		n++
		if oldest == nil || d.Last.Before(oldest.Last) {
			oldest = d
		}
	}
	if n < limit {
		return true
	}
	if now.Sub(oldest.Last) < maxSilence {
		return false
	}
	delete(t.list, keyOf(*oldest))
	other := t.other(now)
	add(&other.IPv4, kernel.Bytes(oldest.IPv4))
	add(&other.IPv6, kernel.Bytes(oldest.IPv6))
	return true
}

// other returns the entry of devices that have none of their own.
func (t *Totals) other(now time.Time) *api.DeviceTraffic {
	e := t.list[totalKey{}]
	if e == nil {
		e = &api.DeviceTraffic{Kind: api.OtherDevices, Name: "other devices", Since: now.UTC(),
			Last: now.UTC()}
		t.list[totalKey{}] = e
	}
	return e
}
