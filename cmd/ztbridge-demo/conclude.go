package main

import (
	"context"
	"fmt"
	"time"

	"ztbridge/policyroute/netlab"
)

// conclude prints the account and reports whether the promises were kept.
func (d *demo) conclude() error {
	ctx, cancel := context.WithTimeout(context.Background(), waitTimeout)
	defer cancel()
	main, err := d.lab.Box.MainTable(ctx)
	if err != nil {
		return err
	}
	d.screen.title("The account")
	d.screen.print("%-45s %14s %8s", "what happened to the box", "client waited", "leaked")
	for _, r := range d.rows {
		d.screen.print("%-45s %14s %8d", r.what, seconds(r.gap), r.leaked)
	}
	d.screen.print("%-45s %14s %8d", "(the usual recipe, openvpn killed)", "not at all",
		d.recipeLeak)
	d.screen.print("")
	d.concludeTraffic()
	if main != d.mainBefore {
		d.fault("the main routing table is not as it was")
	}
	d.screen.print("%-34s %s before, %s after", "main routing table, v4 and v6",
		netlab.Checksum(d.mainBefore), netlab.Checksum(main))
	if err := d.concludeLeaks(); err != nil {
		return err
	}
	if len(d.faults) == 0 {
		d.screen.print("\nNothing leaked. The box's own routes and traffic were never touched.")
		return nil
	}
	d.screen.print("\nNOT AS PROMISED:")
	for _, f := range d.faults {
		d.screen.print("   %s", f)
	}
	return errFailed
}

// concludeTraffic ends the streams and checks the box's own.
func (d *demo) concludeTraffic() {
	sent, received := 0, 0
	for _, s := range d.client.streams {
		r := s.Stop()
		sent, received = sent+r.Sent, received+r.Received
	}
	d.screen.print("%-34s %d sent, %d answered", "the client's packets", sent, received)
	sent, lost := 0, 0
	longest := time.Duration(0)
	for _, s := range d.own.streams {
		r := s.Stop()
		sent, lost = sent+r.Sent, lost+r.Lost
		longest = max(longest, r.LongestGap())
	}
	d.screen.print("%-34s %d sent, %d lost; the session into the box held", "the box's own packets",
		sent, lost)
	if lost > 0 {
		d.fault("the box lost %d of its own packets; its longest wait was %s", lost,
			seconds(longest))
	}
}

func (d *demo) concludeLeaks() error {
	if err := d.leaks.Stop(); err != nil {
		return err
	}
	res, err := d.leaks.Result()
	if err != nil {
		return err
	}
	d.screen.print("%-34s %d, among %d packets captured", "the client's packets on the WAN",
		res.Matched, res.Seen)
	if res.Dropped > 0 {
		return fmt.Errorf("the capture missed %d packets and proves nothing", res.Dropped)
	}
	if res.Matched > 0 {
		d.fault("%s leaked:\n%s", plural(res.Matched, "packet"), res)
	}
	return nil
}
