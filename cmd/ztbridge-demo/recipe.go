package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// showRecipe runs the usual recipe on the box, lets its tunnel die and counts the leaks. ztbridge
// is compared with it, and it proves that the capture sees a leak.
func (d *demo) showRecipe(ctx context.Context) error {
	d.screen.title("The usual recipe: openvpn with redirect-gateway, ip_forward, masquerade")
	profile := filepath.Join(d.lab.Dir, "recipe.ovpn")
	if err := os.WriteFile(profile, []byte(d.provider().Config()), 0o600); err != nil {
		return fmt.Errorf("writing the profile: %w", err)
	}
	if err := d.lab.Box.Forwarding(); err != nil {
		return err
	}
	err := d.lab.Box.Nft(fmt.Sprintf(`table inet recipe {
	chain post { type nat hook postrouting priority 100; oifname != %q masquerade; }
}`, d.ingress))
	if err != nil {
		return err
	}
	openvpn, err := d.lab.Box.Start(netlab.Command("openvpn", "--config", profile))
	if err != nil {
		return err
	}
	leaks, err := d.lab.WatchLeaks()
	if err != nil {
		return err
	}
	if err := d.killRecipe(ctx, openvpn, leaks); err != nil {
		return err
	}
	if err := leaks.Stop(); err != nil {
		return err
	}
	return d.undoRecipe(ctx)
}

func (d *demo) killRecipe(ctx context.Context, openvpn *netlab.Process,
	leaks *netlab.Capture) error {
	s, err := d.lab.ClientStream(lab.UDP, lab.IPv4, clientRate)
	if err != nil {
		return err
	}
	defer s.Stop()
	via := d.provider().Public4[0]
	for since := time.Now(); s.Report().Egresses()[via] < 50; {
		if time.Since(since) > waitTimeout {
			return fmt.Errorf("the usual recipe does not work here: %s", openvpn.Log())
		}
		if err := sleep(ctx, 50*time.Millisecond); err != nil {
			return err
		}
	}
	d.screen.print("The Internet sees the client as  %-15s  provider-a: good", via)
	before, err := leaks.Result()
	if err != nil {
		return err
	}
	killed := time.Now()
	openvpn.Kill()
	if err := sleep(ctx, 1500*time.Millisecond); err != nil {
		return err
	}
	after, err := leaks.Result()
	if err != nil {
		return err
	}
	d.recipeLeak = after.Matched - before.Matched
	d.screen.print("openvpn dies (kill -9). The Internet sees the client as")
	for addr := range s.Report().Between(killed, time.Now()).Egresses() {
		d.screen.print("                                %-15s  the box itself: a leak", addr)
	}
	d.screen.print("%s of the client went out in the clear within 1.5 s.",
		plural(d.recipeLeak, "packet"))
	if d.recipeLeak == 0 {
		return fmt.Errorf(
			"the usual recipe did not leak: the capture would not see a leak of ztbridge either")
	}
	return nil
}

// undoRecipe makes the box what it was, the route that openvpn left included.
func (d *demo) undoRecipe(ctx context.Context) error {
	if err := d.lab.Box.Nft("delete table inet recipe"); err != nil {
		return err
	}
	if err := d.lab.Box.Sysctl("net/ipv4/ip_forward=0",
		"net/ipv6/conf/all/forwarding=0"); err != nil {
		return err
	}
	if err := d.lab.Box.IP(fmt.Sprintf("route flush %s/32", d.provider().Public4[0])); err != nil {
		return err
	}
	now, err := d.lab.Box.Snapshot(ctx)
	if err != nil {
		return err
	}
	if diff := now.Diff(d.untouched); diff != "" {
		return fmt.Errorf("the usual recipe was not undone:\n%s", diff)
	}
	return nil
}
