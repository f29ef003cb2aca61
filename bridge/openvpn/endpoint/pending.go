package endpoint

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// maxPending is how many connections of a TCP listener may be on their way in: without a
	// verified certificate. Beyond it the oldest of the source with the most are ended. That leaves
	// most of maxClients to newcomers, so an attacker has to open some 170 connections a second to
	// keep them out, which otherwise 512 silent ones did.
	maxPending = 128
	// maxPendingOfOne is how many of them may be of one source.
	maxPendingOfOne = maxPending / 4
	// sourceBits6 is the length of the IPv6 prefix whose addresses one host may use all.
	sourceBits6 = 64
	// pendingInterval is how often pending connections are counted. quietInterval applies while
	// there are few, to leave an idle box idle. OpenVPN ends a connection five seconds after it is
	// told to.
	pendingInterval = 250 * time.Millisecond
	quietInterval   = 2 * time.Second
)

// limitPending ends connections beyond the limits that have not been admitted, until ctx ends. It
// serves TCP listeners: by UDP nothing is kept for a sender that proves nothing.
func (a *authorizer) limitPending(ctx context.Context) {
	timer := time.NewTimer(quietInterval)
	defer timer.Stop()
	ending := map[int]bool{}
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		}
		_, lines, err := a.conn.MultiLineCommand("status 2")
		timer.Reset(nextCount(len(lines)))
		if err != nil {
			continue // the connection is ending, or openvpn is busy
		}
		var excess []int
		excess, ending = oldestPending(lines, a.admitted(), ending)
		for _, cid := range excess {
			if _, err := a.conn.SingleLineCommand("client-kill %d", cid); ignoreGone(err) != nil {
				a.log.Warn("ending a silent connection", "error", err)
				break
			}
		}
		if len(excess) > 0 {
			a.log.Debug("ended silent connections", "count", len(excess))
		}
	}
}

// nextCount returns how long to wait after a status of so many lines, nearly all of which are
// connections.
func nextCount(lines int) time.Duration {
	if lines < maxPending/2 {
		return quietInterval
	}
	return pendingInterval
}

// admitted returns the numbers of the clients that this process has admitted.
func (a *authorizer) admitted() map[int]bool {
	out := map[int]bool{}
	for _, s := range a.server.sessions.all() {
		if s.key.listener == a.listener.Name() {
			out[s.key.cid] = true
		}
	}
	return out
}

// oldestPending reads openvpn's status and returns the numbers of the connections beyond the limits
// that are not admitted, and all that are ending: those, and those of ending that are still there.
// OpenVPN numbers connections in the order in which they come.
func oldestPending(status []string, admitted,
	ending map[int]bool) (excess []int, still map[int]bool) {
	pending := map[netip.Prefix][]int{}
	still = map[int]bool{}
	for _, line := range status {
		fields := strings.Split(line, ",")
		const name, real, number, least = 1, 2, 10, 11
		if len(fields) < least || fields[0] != "CLIENT_LIST" || fields[name] != "UNDEF" {
			continue
		}
		cid, err := strconv.Atoi(fields[number])
		switch {
		case err != nil || admitted[cid]:
		case ending[cid]:
			still[cid] = true
		default:
			source := sourceOf(fields[real])
			pending[source] = append(pending[source], cid)
		}
	}
	excess = beyondLimits(pending)
	for _, cid := range excess {
		still[cid] = true
	}
	return excess, still
}

// beyondLimits returns, in ascending order, the oldest connections of the source with the most, as
// long as that source or all together have too many.
func beyondLimits(pending map[netip.Prefix][]int) []int {
	total := 0
	for _, cids := range pending {
		slices.Sort(cids)
		total += len(cids)
	}
	var excess []int
	for {
		var most netip.Prefix
		for source, cids := range pending {
			have := pending[most]
			if len(cids) > len(have) || len(cids) == len(have) && cids[0] < have[0] {
				most = source
			}
		}
		cids := pending[most]
		if len(cids) <= maxPendingOfOne && total-len(excess) <= maxPending {
			slices.Sort(excess)
			return excess
		}
		excess, pending[most] = append(excess, cids[0]), cids[1:]
		if len(pending[most]) == 0 {
			delete(pending, most)
		}
	}
}

// sourceOf returns the source that a client's address counts as: IPv4 with its port, or IPv6
// without, as openvpn writes them. What cannot be read is one source.
func sourceOf(text string) netip.Prefix {
	addr, err := netip.ParseAddr(text)
	if err != nil {
		withPort, _ := netip.ParseAddrPort(text)
		addr = withPort.Addr()
	}
	addr = addr.Unmap().WithZone("")
	source, _ := addr.Prefix(min(addr.BitLen(), sourceBits6))
	return source
}

// allowFiles lets openvpn open as many files as maxClients connections need. Go raises the limit
// for this process alone and gives its children the former one, unless it is set explicitly.
func allowFiles() error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("reading the limit of open files: %w", err)
	}
	limit.Cur = min(limit.Max, max(limit.Cur, 2*maxClients))
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("setting the limit of open files: %w", err)
	}
	if limit.Cur < 2*maxClients {
		return fmt.Errorf("the limit of open files is %d; %d connections may need %d", limit.Cur,
			maxClients, 2*maxClients)
	}
	return nil
}
