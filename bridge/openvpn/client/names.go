package client

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"slices"
	"sync"
	"time"

	"ztbridge/bridge/openvpn/profile"

	"ztbridge/bridge/statefile"
)

const (
	// lookupShort limits a lookup when an earlier answer can serve instead. lookupFast applies when
	// clients wait for it, and lookupLimit when no answer is known.
	lookupShort = 2 * time.Second
	lookupFast  = 500 * time.Millisecond
	lookupLimit = 6 * time.Second
	// answerAge is how long an answer is used again without asking, so that a reconnection does not
	// wait for DNS.
	answerAge = time.Minute
	// maxAddrs is how many addresses of one name are tried.
	maxAddrs = 8
)

// names resolves the servers' names and remembers the last good answers, on disk too. After a
// restart without DNS the tunnel can still be built, and DNS may depend on it. It may be used by
// any goroutine.
type names struct {
	path     string
	resolver Resolver
	question func(host string) string // what DNS is asked for in its place
	now      func() time.Time
	log      *slog.Logger
	mu       sync.Mutex
	known    map[string]answer
}

// errNoAddress reports a name whose addresses are no server's, or of another IP version than the
// profile allows.
var errNoAddress = errors.New("it has no usable address")

type answer struct {
	Addrs []netip.Addr `json:"addrs"`
	Time  time.Time    `json:"time"`
	fresh bool         // asked by this process
}

// openNames reads what is remembered at path. What cannot be read is forgotten.
func openNames(path string, resolver Resolver, question func(string) string) *names {
	n := &names{path: path, resolver: resolver, question: question, now: time.Now,
		log: slog.New(slog.DiscardHandler), known: readKnown[answer](path)}
	for host, a := range n.known {
		if a.Addrs = usable(a.Addrs); len(a.Addrs) == 0 {
			delete(n.known, host)
		} else {
			n.known[host] = a
		}
	}
	return n
}

// lookup returns the addresses of a remote, IPv4 first. It uses a literal address, a recent answer
// (unless again), DNS, or the last good answer; old reports the last case. In a fast round, DNS
// gets little time before that. The error is DNS's.
func (n *names) lookup(ctx context.Context, r profile.Remote, again,
	fastRounds bool) (addrs []netip.Addr, old bool, err error) {
	if a, err := netip.ParseAddr(r.Host); err == nil {
		addrs = ofFamily([]netip.Addr{a}, r.Family)
		if len(addrs) == 0 {
			return nil, false, fmt.Errorf("%s is not an IPv%d address", r.Host, r.Family)
		}
		return addrs, false, nil
	}
	n.mu.Lock()
	known, have := n.known[r.Host]
	n.mu.Unlock()
	if have && known.fresh && !again && n.now().Sub(known.Time) < answerAge {
		if addrs = ofFamily(known.Addrs, r.Family); len(addrs) > 0 {
			return addrs, false, nil
		}
	}
	limit := lookupLimit
	switch {
	case have && fastRounds:
		limit = lookupFast
	case have:
		limit = lookupShort
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	found, err := n.resolver.LookupNetIP(ctx, "ip", n.question(r.Host))
	if found = usable(found); err == nil && len(found) > 0 {
		n.remember(r.Host, found)
		if addrs = ofFamily(found, r.Family); len(addrs) > 0 {
			return addrs, false, nil
		}
	}
	if err == nil {
		err = errNoAddress
	}
	if addrs = ofFamily(known.Addrs, r.Family); len(addrs) > 0 {
		return addrs, true, err
	}
	return nil, false, err
}

// last returns the addresses of a remote by the last good answer, without asking for them.
func (n *names) last(r profile.Remote) []netip.Addr {
	n.mu.Lock()
	defer n.mu.Unlock()
	return ofFamily(n.known[r.Host].Addrs, r.Family)
}

// remember keeps an answer, and writes all of them when it is new. If they cannot be written, this
// process remembers all the same.
func (n *names) remember(host string, addrs []netip.Addr) {
	n.mu.Lock()
	defer n.mu.Unlock()
	same := slices.Equal(n.known[host].Addrs, addrs)
	n.known[host] = answer{Addrs: addrs, Time: n.now(), fresh: true}
	if same {
		return
	}
	if err := writeKnown(n.path, n.known); err != nil {
		n.log.Warn("cannot remember the address of a server", "name", host, "error", err)
	}
}

// readKnown reads what writeKnown wrote. What cannot be read is forgotten.
func readKnown[T any](path string) map[string]T {
	var known map[string]T
	data, err := os.ReadFile(path)
	if err != nil || json.Unmarshal(data, &known) != nil || known == nil {
		return map[string]T{}
	}
	return known
}

func writeKnown[T any](path string, known map[string]T) error {
	data, err := json.Marshal(known)
	if err != nil {
		return err
	}
	return statefile.Write(path, data)
}

// usable returns the addresses that a server can have, IPv4 first, within a family in their
// order.
func usable(addrs []netip.Addr) []netip.Addr {
	var out []netip.Addr
	for _, a := range addrs {
		if a = a.Unmap(); a.IsValid() && !a.IsUnspecified() && !a.IsMulticast() &&
			!a.IsLoopback() && a.Zone() == "" &&
			!slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	slices.SortStableFunc(out, func(a, b netip.Addr) int { return a.BitLen() - b.BitLen() })
	return out[:min(len(out), maxAddrs)]
}

func ofFamily(addrs []netip.Addr, family int) []netip.Addr {
	var out []netip.Addr
	for _, a := range addrs {
		if family == 0 || a.Is4() == (family == 4) {
			out = append(out, a)
		}
	}
	return out
}
