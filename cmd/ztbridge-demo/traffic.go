package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"time"

	"ztbridge/bridge/lab"
)

var terminate os.Signal = syscall.SIGTERM

// traffic is what one party sends while the box is mistreated.
type traffic struct {
	main    *lab.Stream // UDP over IPv4
	streams []*lab.Stream
}

// startTraffic starts all that flows from now on: the client's, the box's own and a session into
// it.
func (d *demo) startTraffic() error {
	var errs []error
	add := func(t *traffic) func(*lab.Stream, error) {
		return func(s *lab.Stream, err error) {
			errs = append(errs, err)
			t.streams = append(t.streams, s)
		}
	}
	client, own := add(&d.client), add(&d.own)
	client(d.lab.ClientStream(lab.UDP, lab.IPv4, clientRate))
	client(d.lab.ClientStream(lab.UDP, lab.IPv6, 50))
	client(d.lab.ClientStream(lab.TCP, lab.IPv4, 20))
	client(d.lab.ClientStream(lab.DNS, lab.IPv4, 10))
	client(d.lab.ClientStream(lab.Ping, lab.IPv4, 10))
	own(d.lab.BoxStream(lab.UDP, lab.IPv4, 20))
	own(d.lab.BoxStream(lab.UDP, lab.IPv6, 20))
	own(d.lab.SessionIntoBox(lab.IPv4, 20))
	if err := errors.Join(errs...); err != nil {
		return err
	}
	d.client.main = d.client.streams[0]
	return nil
}

// leaked returns how many packets of the client were seen on the box's WAN so far.
func (d *demo) leaked() (int, error) {
	res, err := d.leaks.Result()
	if err != nil {
		return 0, err
	}
	if res.Dropped > 0 {
		return 0, fmt.Errorf("the capture missed %d packets and proves nothing", res.Dropped)
	}
	return res.Matched, nil
}

// awaitFlow waits until nearly all that the client sent within a second was answered.
func (d *demo) awaitFlow(ctx context.Context) error {
	since := time.Now()
	for time.Since(since) < waitTimeout {
		now := time.Now()
		// The last answers may be under way still.
		recent := d.client.main.Report().Between(now.Add(-1300*time.Millisecond),
			now.Add(-300*time.Millisecond))
		if recent.Sent > clientRate/2 && recent.Received*10 >= recent.Sent*9 &&
			now.Sub(since) > 1300*time.Millisecond {
			return nil
		}
		d.drawStrip(since)
		if err := sleep(ctx, 100*time.Millisecond); err != nil {
			return err
		}
	}
	return fmt.Errorf("the client's packets are not answered after %s; ztbridge says:\n%s",
		waitTimeout, d.gw.daemon.Log())
}

// drawStrip shows the client's stream since a moment.
func (d *demo) drawStrip(since time.Time) {
	now := time.Now()
	line, _ := strip(d.client.main.Report(), since, now.Add(-50*time.Millisecond))
	leaked, err := d.leaked()
	if err != nil {
		return // said where the counts matter
	}
	d.screen.draw("   |%s| %d leaked", line, leaked)
}

// sleep waits, or returns early with the context's error.
func sleep(ctx context.Context, t time.Duration) error {
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

func indent(s string) string {
	return "   " + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", "\n   ") + "\n"
}
