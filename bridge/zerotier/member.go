package zerotier

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"syscall"
	"time"
)

const (
	// joinGrace is how long a network may be missing before it is joined. After its start the
	// service answers a little before it has read its networks, and a join would delete what it has
	// cached of them.
	joinGrace = time.Second
	// settingsEvery paces attempts to switch settings off that do not stay off.
	settingsEvery = 5 * time.Second
	retryMin      = 2 * time.Second
	retryMax      = time.Minute
	// retryBeside is the pause after a failed join while the service is in other networks. Joining
	// a network whose device cannot be made then crashes it (seen with 1.14.1), and interrupts the
	// others.
	retryBeside = 10 * time.Minute
	tunDevice   = "/dev/net/tun"
)

// member keeps the box in one network, with settings that leave the host's own traffic alone.
type member struct {
	id     NetworkID
	global bool // public addresses and routes of the network may be installed
	client *Local
	log    *slog.Logger

	missing  time.Time // since when it is not joined; zero: it is
	joining  time.Time // since when it waits for the controller; zero: it does not
	failures int       // joins in a row that failed
	next     time.Time // no join and no change of settings before
	device   string    // why the service has no device for it; empty: no such trouble
	failure  string    // why the last join failed; empty: it did not
}

// attempt returns how joining went so far.
func (m *member) attempt(now time.Time) attempt {
	late := !m.joining.IsZero() && now.Sub(m.joining) >= joinTimeout
	return attempt{late: late, device: m.device, failure: m.failure}
}

// enforce corrects the membership if it is not as configured, and stores the answer in f.
func (m *member) enforce(ctx context.Context, f *facts, now time.Time) {
	if f.err != nil {
		// The pause between joins stays: it may have been the join that brought the service down.
		m.missing, m.joining = time.Time{}, time.Time{}
		return
	}
	n, joined := f.networks[m.id]
	if !joined {
		m.rejoin(ctx, f, now)
		return
	}
	m.missing, m.device, m.failure = time.Time{}, "", ""
	if n.AllowDefault || n.AllowGlobal != m.global || n.AllowDNS {
		m.restrict(ctx, f, now)
	} else {
		m.next = time.Time{}
	}
	if networkState(n.Status) != NetworkJoining {
		m.joining, m.failures = time.Time{}, 0
	} else if m.joining.IsZero() {
		m.joining = now
	}
}

// rejoin leaves the network and joins it. A network whose device failed is not listed, and a join
// alone does not repair it.
func (m *member) rejoin(ctx context.Context, f *facts, now time.Time) {
	if m.missing.IsZero() {
		m.missing = now
	}
	if now.Sub(m.missing) < joinGrace || now.Before(m.next) {
		return
	}
	if _, err := os.Stat(tunDevice); errors.Is(err, fs.ErrNotExist) {
		m.device, m.next = tunDevice+" does not exist", now.Add(retryMin)
		return
	}
	m.log.Info("joining zerotier network", "network", m.id.String(), "failures", m.failures)
	n, err := m.leaveAndJoin(ctx)
	if err == nil && n.ID == m.id {
		f.networks[m.id] = n
		m.missing, m.device, m.failure, m.joining = time.Time{}, "", "", now
		return
	}
	if m.failure = "zerotier-one did not join it"; err != nil {
		m.failure = err.Error()
	}
	m.failures++
	m.next = now.Add(backoff(m.failures))
	m.log.Warn("joining zerotier network failed", "network", m.id.String(), "error", err)
	if err != nil && !crashed(err) {
		return
	}
	m.device = "zerotier-one made no network device for it"
	if len(f.networks) > 0 {
		m.next = now.Add(retryBeside)
	}
}

func (m *member) leaveAndJoin(ctx context.Context) (networkAnswer, error) {
	if err := m.client.leave(ctx, m.id); err != nil {
		return networkAnswer{}, err
	}
	return m.client.join(ctx, m.id, m.global)
}

// crashed tells a service that ended while it was asked from one that was not there, or was slow.
func crashed(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET)
}

// restrict switches off what lets the service change the host's routes and resolvers, except what
// the configuration allows. It acts only on a difference, because every change of settings also
// turns a hand-written allowManaged=<prefixes> into a plain yes.
func (m *member) restrict(ctx context.Context, f *facts, now time.Time) {
	if now.Before(m.next) {
		return
	}
	m.next = now.Add(settingsEvery)
	n, err := m.client.join(ctx, m.id, m.global)
	if err != nil || n.ID != m.id {
		m.log.Warn("changing zerotier settings failed", "network", m.id.String(), "error", err)
		return
	}
	m.log.Info("zerotier settings read back", "network", m.id.String(),
		"allowDefault", n.AllowDefault, "allowGlobal", n.AllowGlobal, "allowDNS", n.AllowDNS)
	f.networks[m.id] = n
}

// backoff returns the wait after a number of failures in a row: it doubles from retryMin up to
// retryMax.
func backoff(failures int) time.Duration {
	d := retryMin
	for range failures - 1 {
		d = min(2*d, retryMax)
	}
	return d
}
