package endpoint

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	// maxPending is how many connections of a TCP listener may be on their way in: without a
	// verified certificate. Beyond it the oldest are ended. That leaves most of maxClients to
	// newcomers, so an attacker has to open some 170 connections a second to keep them out, which
	// otherwise 512 silent ones did.
	maxPending = 128
	// pendingInterval is how often pending connections are counted. quietInterval applies while
	// there are few, to leave an idle box idle. OpenVPN ends a connection five seconds after it is
	// told to.
	pendingInterval = 250 * time.Millisecond
	quietInterval   = 2 * time.Second
)

// limitPending ends the oldest connections beyond maxPending that have not been admitted, until ctx
// ends. It serves TCP listeners: by UDP nothing is kept for a sender that proves nothing.
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

// oldestPending reads openvpn's status and returns the oldest connections over maxPending that are
// not admitted. It also returns those of ending that are still there. OpenVPN numbers connections
// in the order in which they come.
func oldestPending(status []string, admitted,
	ending map[int]bool) (excess []int, still map[int]bool) {
	var pending []int
	still = map[int]bool{}
	for _, line := range status {
		fields := strings.Split(line, ",")
		const name, number, least = 1, 10, 11
		if len(fields) < least || fields[0] != "CLIENT_LIST" || fields[name] != "UNDEF" {
			continue
		}
		cid, err := strconv.Atoi(fields[number])
		switch {
		case err != nil || admitted[cid]:
		case ending[cid]:
			still[cid] = true
		default:
			pending = append(pending, cid)
		}
	}
	slices.Sort(pending)
	excess = pending[:max(0, len(pending)-maxPending)]
	for _, cid := range excess {
		still[cid] = true
	}
	return excess, still
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
