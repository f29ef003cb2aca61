package client

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"ztbridge/bridge/openvpn/profile"
)

const (
	// raceDelay is how long the present server is left alone before the next one is asked as well.
	// Source: RFC 8305, section 5, Connection Attempt Delay. raceInterval is the time between
	// further servers, which are asked for one packet each.
	raceDelay    = 250 * time.Millisecond
	raceInterval = 100 * time.Millisecond
	// raceRepeat is when a packet that was not answered is sent again.
	raceRepeat = time.Second
	// maxRaced is how many servers are asked beside the present one.
	maxRaced = 8
)

// candidate is a server that may be tried instead of the present one.
type candidate struct {
	remote profile.Remote
	addr   netip.Addr // another address of the present remote; the zero value: another remote
}

// candidates returns the servers after the present one in order: further addresses of its name,
// then further remotes. Behind a proxy no server can be asked.
func (c *serverList) candidates() []candidate {
	var out []candidate
	if c.current.Proxy.Host == "" && len(c.addrs) > 0 {
		for _, a := range c.addrs[1:] {
			out = append(out, candidate{remote: c.current, addr: a})
		}
	}
	n := len(c.remotes)
	for i := range n - 1 {
		if r := c.remotes[(c.next+i)%n]; r.Proxy.Host == "" {
			out = append(out, candidate{remote: r})
		}
	}
	return out[:min(len(out), maxRaced)]
}

// behind returns how many remotes a candidate is behind the present one: 0 for an address of its
// name.
func (c *serverList) behind(a candidate) int {
	n := len(c.remotes)
	for i := range n {
		if !a.addr.IsValid() && c.remotes[(c.next+i)%n] == a.remote {
			return i + 1
		}
	}
	return 0
}

// jump makes a candidate the next to be tried and passes over those before it. None is jumped from
// again before an attempt has failed: it may be openvpn alone whose packets are lost.
func (c *serverList) jump(a candidate) {
	c.jumped = true
	n := c.behind(a)
	if n > 0 && len(c.addrs) == 0 {
		n-- // fail has counted the present one
		c.next = (c.next + n) % len(c.remotes)
	} else if n > 0 {
		c.next = (c.next + n - 1) % len(c.remotes)
	}
	c.fastRounds = max(c.fastRounds-n, 0)
	for len(c.addrs) > 0 && c.addrs[0] != a.addr {
		c.addrs = c.addrs[1:]
		c.failed[asked(c.current).Host] = true
	}
}

// race is what is heard of the servers that follow, while openvpn waits for the present one. They
// are asked for no login, so that none counts a user more.
type race struct {
	cancel  context.CancelFunc
	answers chan candidate
	best    *candidate       // of the other remotes that answered, the first in order
	due     <-chan time.Time // when the present remote has had its time
}

// startRace begins the race of an attempt.
func (r *run) startRace() {
	all := r.t.servers.candidates()
	if r.target.measure || r.t.servers.jumped || len(all) == 0 {
		return
	}
	ctx, cancel := context.WithCancel(r.ctx)
	answers := make(chan candidate)
	r.race = race{cancel: cancel, answers: answers, due: time.After(fastTimeout)}
	for i, a := range all {
		r.helpers.Go(func() {
			if !wait(ctx, raceDelay+time.Duration(i)*raceInterval) || !r.replies(ctx, a) {
				return
			}
			select {
			case answers <- a:
			case <-ctx.Done():
			}
		})
	}
}

// endRace forgets what was heard, and asks no more.
func (r *run) endRace() {
	if r.race.cancel != nil {
		r.race.cancel()
	}
	r.race = race{}
}

// heard takes the answer of a candidate. The addresses of one name are worth the same; another
// remote stands behind in somebody's order, so the present one has its time first.
func (r *run) heard(a candidate) *outcome {
	if a.addr.IsValid() {
		return r.overtake(a)
	}
	if r.race.best == nil || r.t.servers.behind(a) < r.t.servers.behind(*r.race.best) {
		r.race.best = &a
	}
	if r.race.due == nil {
		return r.overtake(a)
	}
	return nil
}

// raceDue is the end of the present remote's time before the others.
func (r *run) raceDue() *outcome {
	r.race.due = nil
	if r.race.best == nil {
		return nil
	}
	return r.overtake(*r.race.best)
}

// overtake ends an attempt in favour of a server that answers.
func (r *run) overtake(a candidate) *outcome {
	r.t.log.Info("another server answers first", "silent", r.target.server(), "next", a.remote,
		"address", a.addr)
	r.t.servers.jump(a)
	return &outcome{failure{state: StateBackoff, cause: "the server does not answer, another does"},
		true}
}

// replies reports whether a server answers the first packet of a connection before ctx ends.
func (r *run) replies(ctx context.Context, a candidate) bool {
	key := r.t.cfg.Profile.ControlKey(a.remote)
	if !a.addr.IsValid() {
		addrs, _, _ := r.t.servers.names.lookup(ctx, a.remote, false, true)
		if len(addrs) == 0 {
			return false
		}
		a.addr = addrs[0]
	}
	var d net.Dialer
	conn, err := d.DialContext(ctx, string(a.remote.Proto),
		netip.AddrPortFrom(a.addr, a.remote.Port).String())
	if err != nil {
		return false
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	for ctx.Err() == nil {
		answered, err := askOnce(conn, a.remote.Proto, key)
		if answered || err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			return answered
		}
	}
	return false
}

// askOnce sends a hard reset and waits until it is time to send another.
func askOnce(conn net.Conn, proto profile.Proto, key profile.ControlKey) (bool, error) {
	packet, err := hardReset(key, time.Now())
	if err != nil {
		return false, err
	}
	if proto == profile.TCP { // each packet is preceded by its length
		packet = append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)
	}
	if _, err := conn.Write(packet); err != nil {
		return false, err
	}
	answer := make([]byte, 2+1500)
	if proto == profile.UDP {
		if err := conn.SetReadDeadline(time.Now().Add(raceRepeat)); err != nil {
			return false, err
		}
		n, err := conn.Read(answer)
		return answersHardReset(answer[:n]), err
	}
	if _, err := io.ReadFull(conn, answer[:2+1+sessionIDBytes]); err != nil {
		return false, err
	}
	return answersHardReset(answer[2 : 2+1+sessionIDBytes]), nil
}

// wait reports whether a time has passed before ctx ended.
func wait(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}
