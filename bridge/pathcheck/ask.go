package pathcheck

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"time"
)

// doubt is what makes later answers of one check count for less.
type doubt struct {
	wrong  netip.Addr // that the known name was given: the second question is asked now
	resets bool       // somebody other than a target resets connections
}

// target is a host as one client reaches it.
type target struct {
	client string // its key
	addr   netip.Addr
}

// ask sends one kind of question to the targets in turn until one of them answers.
func (c *Checker) ask(ctx context.Context, dev io.Writer, k Kind, client Client) (Outcome, error) {
	out := Outcome{Asked: true}
	var d doubt
	for try := range tries {
		p := probe{kind: k, src: client.Addr, dst: client.Targets[try%len(client.Targets)],
			id: uint16(rand.IntN(1<<16-1) + 1), seq: rand.Uint32(), second: d.wrong.IsValid()}
		b, err := p.marshal()
		if err != nil {
			return out, err
		}
		q := c.expect(p)
		if _, err := dev.Write(b); err != nil {
			c.forget(p)
			return out, fmt.Errorf("sending: %w", err)
		}
		done := false
		select {
		case a := <-q.got:
			if a.open {
				c.reset(dev, p)
			}
			out, done = c.rate(client.Key, a, &d)
		case <-time.After(pause):
		case <-ctx.Done():
			c.forget(p)
			return out, ctx.Err()
		}
		c.forget(p)
		if done {
			break
		}
	}
	return out, nil
}

// rate returns what an answer says, and whether nothing is left to ask.
func (c *Checker) rate(client string, a answer, d *doubt) (out Outcome, done bool) {
	out = Outcome{Asked: true, Refused: a.refused}
	switch {
	case a.kind == UDP && a.closed:
		// The target itself says that it does not listen: UDP passes both ways.
		return Outcome{Asked: true, Answered: true}, true
	case a.refused != "":
	case a.kind == TCP && c.injected(target{client, a.src}, a, d):
		out.Refused = Resets
	case a.kind == DNS && c.doubts(client, a):
		if d.wrong == a.wrong {
			out.Refused = fmt.Sprintf("answers every name with %s", a.wrong)
			return out, true
		}
		if out.Answered = d.wrong.IsValid(); !out.Answered {
			d.wrong = a.wrong // one wrong address may have its reasons: the second question tells
		}
		return out, out.Answered
	default:
		out.Answered = true
		return out, true
	}
	return out, false
}

// doubts reports whether an answer has a wrong address, from a resolver that has looked names up
// for this client before. In a closed network one may be meant to give every name one address.
func (c *Checker) doubts(client string, a answer) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !a.wrong.IsValid() {
		c.named[client] = true
	}
	return a.wrong.IsValid() && c.named[client]
}

// injected reports whether somebody on the way resets a connection. A target that listens no more
// resets it itself, with the hop limit that it accepted others with.
func (c *Checker) injected(from target, a answer, d *doubt) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	hops, known := c.opened[from]
	if a.open {
		c.opened[from] = a.hops
		return false
	}
	d.resets = d.resets || known && hops != a.hops
	return d.resets && (!known || hops != a.hops)
}

// reset ends a connection; that the packet may be lost does not matter.
func (c *Checker) reset(dev io.Writer, p probe) {
	_, _ = dev.Write(p.reset())
}
