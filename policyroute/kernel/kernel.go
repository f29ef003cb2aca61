package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

// ErrDumpInterrupted reports that what was being listed changed meanwhile, several times in a row.
// The answer may be incomplete, so whoever would remove by it must not act at all and ask again
// later.
var ErrDumpInterrupted = errors.New("listing was interrupted by changes")

// observeAttempts bounds how often an interrupted observation is begun again.
const observeAttempts = 5

// Options of Open.
type Options struct {
	// RecordPath is the file that keeps what is needed to put the host back as it was. It should
	// not outlive a boot; a record of an earlier boot is ignored. Empty means that nothing may be
	// written that would have to be put back.
	RecordPath string
	Logger     *slog.Logger // nil discards
}

// Kernel is the network namespace of the thread that opened it. Its methods are safe for concurrent
// use, and must be called from threads in that same namespace.
type Kernel struct {
	log *slog.Logger

	mu   sync.Mutex
	rtnl *netlink.Handle
	// filters dumps in the kernel: a router's full table is not copied for our few
	strict        *netlink.Handle
	raw           map[int]*nl.SocketHandle
	gen           *generation
	nft           nft
	drops         drops
	ipt           *iptables
	record        *record
	cache         filterCache
	filterChanges atomic.Uint64 // by other programs
	noFqCoDel     error         // the kernel has no fq_codel; nil: not known
	connTable     connTable
	ports         map[policyroute.Listener]time.Time // since when they are known to be open
	// whether the kernel counts connections by source, once meters was asked
	meters   sync.Once
	canMeter bool
}

// filterCache is the part of the state that generation vouches for.
type filterCache struct {
	valid      bool
	generation uint32
	nft        policyroute.Ruleset
	chains     []policyroute.Chain
	unseen     []policyroute.Unseen
}

// Open prepares access to the network namespace of the calling thread. Call Close when done.
func Open(opts Options) (*Kernel, error) {
	log := cmp.Or(opts.Logger, slog.New(slog.DiscardHandler))
	k := &Kernel{log: log, nft: newNft(), ipt: newIPTables(log)}
	var err error
	if k.record, err = openRecord(opts.RecordPath); err != nil {
		return nil, err
	}
	if err := k.openSockets(); err != nil {
		k.Close()
		return nil, err
	}
	return k, nil
}

func (k *Kernel) openSockets() error {
	var err error
	if k.rtnl, err = netlink.NewHandle(unix.NETLINK_ROUTE, unix.NETLINK_NETFILTER); err != nil {
		return fmt.Errorf("opening a netlink socket: %w", err)
	}
	if k.strict, err = netlink.NewHandle(unix.NETLINK_ROUTE); err != nil {
		return fmt.Errorf("opening a netlink socket: %w", err)
	}
	if err := k.strict.SetStrictCheck(true); err != nil {
		k.log.Debug("kernel cannot filter route dumps, listing all routes", "error", err)
	}
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE)
	if err != nil {
		return fmt.Errorf("opening a netlink socket: %w", err)
	}
	k.raw = map[int]*nl.SocketHandle{unix.NETLINK_ROUTE: {Socket: socket}}
	k.gen, err = openGeneration()
	return err
}

// Close releases the sockets. It changes nothing in the kernel.
func (k *Kernel) Close() error {
	var err error
	if k.rtnl != nil {
		k.rtnl.Close()
	}
	if k.strict != nil {
		k.strict.Close()
	}
	for _, s := range k.raw {
		s.Close()
	}
	if k.gen != nil {
		err = k.gen.close()
	}
	return err
}

// Observe returns our objects in the kernel in the form that Compile uses. After Apply the two are
// equal. Sysctls are those that were ever written and not put back. An iptables that is missing or
// does not work is no error, see State.Unseen. It returns ErrDumpInterrupted when the kernel kept
// changing.
func (k *Kernel) Observe() (policyroute.State, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for range observeAttempts {
		s, err := k.observe()
		if !errors.Is(err, ErrDumpInterrupted) && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return s, err
		}
	}
	return policyroute.State{}, ErrDumpInterrupted
}

func (k *Kernel) observe() (policyroute.State, error) {
	var s policyroute.State
	names, links, err := k.listLinks()
	if err != nil {
		return s, err
	}
	s.Links = links
	for _, f := range policyroute.Families {
		rules, err := k.listRules(f)
		if err != nil {
			return s, err
		}
		s.Rules = append(s.Rules, rules...)
		routes, err := k.listRoutes(f, names)
		if err != nil {
			return s, err
		}
		s.Routes = append(s.Routes, routes...)
	}
	s.Sysctls = k.record.observe()
	if err := k.observeFilters(); err != nil {
		return s, err
	}
	s.Nft, s.IPTables, s.Unseen = k.cache.nft, slices.Clone(k.cache.chains),
		slices.Clone(k.cache.unseen)
	s.Normalize()
	return s, nil
}

// observeFilters reads our table and our chains into the cache, unless nothing of nftables changed
// since it last did.
func (k *Kernel) observeFilters() error {
	before, err := k.gen.read()
	if err != nil {
		return err
	}
	c := &k.cache
	if !c.valid || c.generation != before {
		c.valid = false
		if c.nft, err = k.nft.observe(); err != nil {
			return k.ifChanged(before, err)
		}
		c.generation = before
	}
	if !c.valid || k.ipt.unsettled() {
		c.chains, c.unseen = k.ipt.observe()
	}
	err = k.ifChanged(before, nil)
	c.valid = err == nil
	return err
}

// ifChanged returns ErrDumpInterrupted when nftables changed while it was being read, which
// explains whatever went wrong; else err.
func (k *Kernel) ifChanged(before uint32, err error) error {
	after, genErr := k.gen.read()
	if genErr != nil {
		return genErr
	}
	if after != before {
		return ErrDumpInterrupted
	}
	return err
}
