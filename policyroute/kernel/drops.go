package kernel

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

// Drops are packets that our table dropped, and their bytes.
type Drops struct{ Packets, Bytes uint64 }

// drops remembers what tables that were replaced had counted. Safe for concurrent use.
type drops struct {
	mu     sync.Mutex
	before map[string]Drops // by layer
}

// Dropped returns what each layer of our table (forward, input, …) has dropped since it was first
// loaded by this process, or before by the guard; nothing where that cannot be read. A table that
// another program removed takes its counts with it. Safe for concurrent use.
func (k *Kernel) Dropped() map[string]Drops {
	k.drops.mu.Lock()
	defer k.drops.mu.Unlock()
	out, err := k.drops.read(k.nft)
	if err != nil {
		k.log.Debug("what the filter dropped cannot be read", "error", err)
	}
	return out
}

// read returns the counts of all tables together. The caller holds mu.
func (d *drops) read(n nft) (map[string]Drops, error) {
	conn, err := n.dial()
	if err != nil {
		return nil, err
	}
	defer conn.CloseLasting()
	objects, err := conn.GetNamedObjects(&n.table)
	if err != nil {
		return nil, fmt.Errorf("reading what was dropped: %w", err)
	}
	out := map[string]Drops{}
	maps.Copy(out, d.before)
	for _, o := range objects {
		named, ok := o.(*nftables.NamedObj)
		if !ok || !strings.HasPrefix(named.Name, policyroute.CounterPrefix) {
			continue
		}
		if c, ok := named.Obj.(*expr.Counter); ok {
			layer := strings.TrimPrefix(named.Name, policyroute.CounterPrefix)
			sum := out[layer]
			out[layer] = Drops{sum.Packets + c.Packets, sum.Bytes + c.Bytes}
		}
	}
	return out, nil
}

// replaceNft replaces our table, and remembers what the old one had counted.
func (k *Kernel) replaceNft(want policyroute.Ruleset) error {
	k.drops.mu.Lock()
	defer k.drops.mu.Unlock()
	before, err := k.drops.read(k.nft)
	if err != nil { // a count is worth less than the filter
		k.log.Warn("what the filter dropped is not counted any further", "error", err)
		before = k.drops.before
	}
	if err := k.nft.replace(want); err != nil {
		return err
	}
	k.drops.before = before
	return nil
}

// addCounters queues the counters of layers, and returns the name of each chain's.
func addCounters(conn *nftables.Conn, table *nftables.Table,
	r policyroute.Ruleset) map[string]string {
	counters := r.Counters()
	for _, name := range slices.Compact(slices.Sorted(maps.Values(counters))) {
		conn.AddObj(&nftables.NamedObj{Table: table, Name: name, Type: nftables.ObjTypeCounter,
			Obj: &expr.Counter{}})
	}
	return counters
}

// counted returns the expressions of a rule in which what it drops is counted.
func counted(exprs []expr.Any, counter string) []expr.Any {
	return slices.Insert(exprs, len(exprs)-1,
		expr.Any(&expr.Objref{Type: unix.NFT_OBJECT_COUNTER, Name: counter}))
}

// uncounted returns the expressions of a rule as they are without its counter.
func uncounted(exprs []expr.Any) []expr.Any {
	at := len(exprs) - 2
	if at < 0 {
		return exprs
	}
	ref, ok := exprs[at].(*expr.Objref)
	if !ok || ref.Type != unix.NFT_OBJECT_COUNTER ||
		!strings.HasPrefix(ref.Name, policyroute.CounterPrefix) {
		return exprs
	}
	return slices.Concat(exprs[:at], exprs[at+1:])
}
