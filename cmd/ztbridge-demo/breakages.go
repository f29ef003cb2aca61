package main

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"time"

	"ztbridge/policyroute/netlab"
)

// breakage is something that happens to a gateway, and is put right by nobody but ztbridge unless
// do says so.
type breakage struct {
	what string
	do   func(ctx context.Context) error
}

func (d *demo) breakages() []breakage {
	box := d.lab.Box
	list := []breakage{
		{"openvpn killed (kill -9)", func(context.Context) error { return d.killOpenVPN() }},
		{"provider's server killed, back after 2 s", func(ctx context.Context) error {
			d.provider().Kill()
			return errors.Join(sleep(ctx, 2*time.Second), d.provider().Start(ctx))
		}},
		{"TUN device deleted", func(ctx context.Context) error {
			tun, err := d.gw.tunnel(ctx)
			if err != nil {
				return err
			}
			return box.IP("link del " + tun)
		}},
		{"all nft rules flushed", func(context.Context) error { return box.Nft("flush ruleset") }},
		{"our routing rules deleted", func(context.Context) error {
			return box.IP("rule flush protocol 90", "route flush table all protocol 90")
		}},
		{"daemon killed (kill -9), back after 1 s", func(ctx context.Context) error {
			d.gw.daemon.KillAlone()
			return errors.Join(sleep(ctx, time.Second), d.gw.start())
		}},
	}
	if len(netlab.Missing(netlab.Conntrack)) == 0 {
		list = append(list, breakage{"connection tracking forgets everything",
			func(ctx context.Context) error {
				_, err := box.Run(ctx, "conntrack", "-F")
				return err
			}})
	}
	if d.zt != nil {
		return append(list, breakage{"zerotier-one killed (kill -9) and started",
			func(ctx context.Context) error {
				d.zt.Box.Kill()
				return d.zt.Box.Start(ctx)
			}})
	}
	return append(list, breakage{"ingress interface removed, back after 1 s",
		func(ctx context.Context) error {
			return errors.Join(d.lab.Ingress.Delete(), sleep(ctx, time.Second),
				d.lab.Ingress.Recreate())
		}})
}

func (d *demo) killOpenVPN() error {
	pids, err := d.lab.Box.Pids("openvpn")
	if err != nil {
		return err
	}
	if len(pids) == 0 {
		return errors.New("there is no openvpn to kill")
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			return fmt.Errorf("killing openvpn: %w", err)
		}
	}
	return nil
}

// breakThings mistreats the box and shows what the client and the Internet notice of it.
func (d *demo) breakThings(ctx context.Context) error {
	d.screen.title("Breaking it")
	d.screen.print(
		"Each mark is a tenth of a second of the client's traffic: # answered, + in part, . " +
			"not\nanswered, which is what should happen instead of a leak.")
	for _, b := range d.breakages() {
		if err := d.breakOne(ctx, b); err != nil {
			return fmt.Errorf("%s: %w", b.what, err)
		}
	}
	return nil
}

func (d *demo) breakOne(ctx context.Context, b breakage) error {
	leakedBefore, err := d.leaked()
	if err != nil {
		return err
	}
	d.screen.print("\n%s", b.what)
	began := time.Now()
	if err := b.do(ctx); err != nil {
		return err
	}
	if err := d.awaitFlow(ctx); err != nil {
		return err
	}
	ended := time.Now()
	report := d.client.main.Report()
	leakedAfter, err := d.leaked()
	if err != nil {
		return err
	}
	// Answers of the last moments may be under way still.
	line, cell := strip(report, began.Add(-300*time.Millisecond), ended.Add(-300*time.Millisecond))
	r := row{what: b.what, gap: report.Gap(began, ended), leaked: leakedAfter - leakedBefore}
	d.rows = append(d.rows, r)
	scale, outcome := "", "nothing leaked"
	if cell != stripCell {
		scale = fmt.Sprintf("  (a mark is %s)", cell)
	}
	if r.leaked > 0 {
		outcome = fmt.Sprintf("LEAKED: %s", plural(r.leaked, "packet"))
	}
	d.screen.print("   |%s|%s\n   the client waited %s; %s", line, scale, seconds(r.gap), outcome)
	return d.checkMain(ctx, b.what)
}

// checkMain compares the main routing tables with what they were.
func (d *demo) checkMain(ctx context.Context, after string) error {
	now, err := d.lab.Box.MainTable(ctx)
	if err != nil {
		return err
	}
	if now != d.mainBefore {
		d.fault("the main routing table changed after: %s", after)
		d.screen.print("THE MAIN ROUTING TABLE CHANGED:\n%s", indent(now))
	}
	return nil
}
