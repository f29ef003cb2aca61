package main

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// hop is a place where packets are looked at on their way.
type hop struct {
	host  *netlab.Namespace
	label string
	iface string
	match netlab.Match
	note  string
}

// showPath captures one packet of the client at every hop and shows what is to be seen there.
func (d *demo) showPath(ctx context.Context) error {
	tun, err := d.gw.tunnel(ctx)
	if err != nil {
		return err
	}
	request := func(p netlab.Packet) bool {
		return p.Proto == "udp" && p.Dst == lab.ClientTarget4 && netlab.Carrying(d.lab.Marker)(p)
	}
	encrypted := func(p netlab.Packet) bool {
		return p.Proto == "udp" && p.Src == lab.BoxWAN4 &&
			slices.Contains(d.provider().Public4, p.Dst)
	}
	clientIface := "eth0"
	if d.zt != nil {
		clientIface = d.zt.ClientIface
	}
	hops := []hop{
		{d.lab.Client, "client", clientIface, request, "readable"},
		{d.lab.Box, "box", d.ingress, request, "readable"},
		{d.lab.Box, "box", tun, request, "readable, enters the tunnel"},
		{d.lab.Box, "box", lab.WANIface, encrypted, "encrypted"},
		{d.provider().NS, "provider-a", "eth0", request, "readable"},
		{d.lab.Internet, "Internet", "eth0", request, "readable"},
	}
	d.screen.print("A packet of the client, as captured on its way:\n")
	d.screen.print("   host        interface         source > destination           content")
	for _, h := range hops {
		p, err := firstPacket(ctx, h)
		if err != nil {
			return err
		}
		d.screen.print("   %-11s %-17s %-29s  %s", h.label, h.iface,
			fmt.Sprintf("%s > %s", p.Src, p.Dst), h.note)
	}
	return d.showIdentity(ctx)
}

// firstPacket waits for a packet that matches.
func firstPacket(ctx context.Context, h hop) (netlab.Packet, error) {
	c, err := h.host.Capture(h.iface, h.match)
	if err != nil {
		return netlab.Packet{}, err
	}
	for since := time.Now(); time.Since(since) < waitTimeout; {
		res, err := c.Result()
		if err == nil && len(res.Kept) > 0 {
			return res.Kept[0], c.Stop()
		}
		if err == nil {
			err = sleep(ctx, 20*time.Millisecond)
		}
		if err != nil {
			_ = c.Stop() // the error that counts is err
			return netlab.Packet{}, err
		}
	}
	_ = c.Stop()
	return netlab.Packet{}, fmt.Errorf("no packet of the client was seen on %s of %s", h.iface,
		h.label)
}

// showIdentity says as whom the Internet saw the client.
func (d *demo) showIdentity(ctx context.Context) error {
	if err := sleep(ctx, time.Second); err != nil { // the slowest stream sends ten a second
		return err
	}
	d.screen.print("\nThe Internet sees the client as:")
	for _, s := range d.client.streams {
		r := s.Report()
		for addr, n := range r.Egresses() {
			d.screen.print("   %-4s IPv%d  %-17s %s  (%d answers)", r.Kind, version(addr), addr,
				d.whose(addr), n)
		}
	}
	return nil
}

// whose says whom an address belongs to that answers to the client's requests were sent to.
func (d *demo) whose(addr netip.Addr) string {
	p := d.provider()
	switch {
	case slices.Contains(p.Public4, addr), slices.Contains(p.Public6, addr):
		return "provider-a"
	case p.Inside(addr):
		return "asked provider-a's own resolver, inside the tunnel"
	default:
		d.fault("the Internet saw the client as %s", addr)
		return "NOT THE PROVIDER"
	}
}

func version(a netip.Addr) int {
	if a.Is4() {
		return 4
	}
	return 6
}
