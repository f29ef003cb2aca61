package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"ztbridge/bridge/lab"
	"ztbridge/bridge/lab/ztlab"
	"ztbridge/policyroute/netlab"
)

const (
	clientRate  = 100              // UDP requests a second by which gaps are measured
	waitTimeout = 60 * time.Second // for anything to happen that should
)

// demo is the show and what it has seen so far.
type demo struct {
	program string
	screen  *screen

	lab     *lab.Topology
	zt      *ztlab.Usual // nil without ZeroTier
	ingress string       // the box's interface towards the client
	gw      *gateway

	untouched  netlab.Snapshot // of the box, before anything
	mainBefore string
	recipeLeak int // packets that the usual recipe leaked

	leaks  *netlab.Capture
	client traffic
	own    traffic // the box's
	rows   []row
	faults []string // what was not as promised

	notTaken error // why something of the lab may be left
}

// row is a line of the table at the end.
type row struct {
	what   string
	gap    time.Duration
	leaked int
}

// run shows everything and takes it away, also when ctx ends in between.
func (d *demo) run(ctx context.Context) error {
	defer func() {
		if d.lab != nil {
			d.notTaken = d.lab.Close()
		}
	}()
	for _, part := range []func(context.Context) error{
		d.build, d.showRecipe, d.showGateway, d.breakThings, d.takeDown,
	} {
		if err := part(ctx); err != nil {
			return err
		}
	}
	return d.conclude()
}

func (d *demo) build(ctx context.Context) (err error) {
	d.screen.title("The lab")
	withZeroTier := len(netlab.Missing(netlab.ZeroTier)) == 0
	if d.lab, err = lab.Standard(ctx, lab.Options{RemoteClient: withZeroTier}); err != nil {
		return err
	}
	d.ingress = lab.IngressIface
	link := "──"
	if withZeroTier {
		d.screen.print(
			"A planet, a controller and two members of a ZeroTier network come up: some ten " +
				"seconds.\n")
		if d.zt, err = ztlab.NewUsual(ctx, d.lab); err != nil {
			return err
		}
		d.ingress, link = d.zt.BoxIface, "zt"
	}
	d.screen.print(`  client ──%s── box ══ OpenVPN ══ provider-a ── Internet
                 │                                 │
                 └── wan0 ───────── router ────────┘
                      ▲
                      every packet here is captured and searched for the client`, link)
	if withZeroTier {
		d.screen.print("\nThe client's link is real ZeroTier, with its own planet.")
	} else {
		d.screen.print(
			"\nThere is no zerotier-one on the PATH: the client's link is a plain cable.")
	}
	d.screen.print(
		"Hosts are network namespaces of this machine; the provider is a real OpenVPN server.")
	d.screen.print("\n  host         on the Internet")
	d.screen.print("  box          %s", lab.BoxWAN4)
	d.screen.print("  provider-a   %s", d.provider().Public4[0])
	d.screen.print("  Internet     %s, to which nobody talks but the client", lab.ClientTarget4)
	if d.untouched, err = d.lab.Box.Snapshot(ctx); err != nil {
		return err
	}
	d.mainBefore, err = d.lab.Box.MainTable(ctx)
	return err
}

func (d *demo) provider() *lab.Provider { return d.lab.Providers[0] }

// config returns the gateway's configuration, as short as a user's.
func (d *demo) config() string {
	const rest = `egress:
  provider: {openvpn: {profile: provider.ovpn}}
`
	if d.zt != nil {
		return fmt.Sprintf("zerotier: {home: %s, networks: [%s]}\n", d.zt.Box.Home,
			d.zt.Network.ID) + rest
	}
	return fmt.Sprintf("ingress: [%s]\n", d.ingress) + rest
}

// showGateway starts ztbridge and shows the path of a packet.
func (d *demo) showGateway(ctx context.Context) (err error) {
	d.screen.title("With ztbridge")
	config := d.config()
	d.screen.print("Its whole configuration:\n\n%s", indent(config))
	d.gw, err = newGateway(d.program, d.lab.Box, filepath.Join(d.lab.Dir, "ztbridge"), config,
		d.provider().Config())
	if err != nil {
		return err
	}
	if d.leaks, err = d.lab.WatchLeaks(); err != nil {
		return err
	}
	if err := d.startTraffic(); err != nil {
		return err
	}
	if err := d.gw.start(); err != nil {
		return err
	}
	if err := d.awaitFlow(ctx); err != nil {
		return err
	}
	return d.showPath(ctx)
}

// takeDown ends the daemon, which leaves the box closed, and then undoes everything.
func (d *demo) takeDown(ctx context.Context) error {
	d.screen.title("The end of ztbridge")
	if err := d.gw.daemon.Signal(terminate); err != nil {
		return err
	}
	if err := d.gw.daemon.Wait(ctx); err != nil {
		d.fault("the daemon ended with %v", err)
	}
	stopped := time.Now()
	if err := sleep(ctx, 1500*time.Millisecond); err != nil {
		return err
	}
	after := d.client.main.Report().Between(stopped, time.Now())
	d.screen.print(
		"The daemon is stopped: of the client's %s, %d were answered. The box stays closed.",
		plural(after.Sent, "request"), after.Received)
	if after.Received > 0 {
		d.fault("%s passed after the daemon had ended", plural(after.Received, "packet"))
	}
	if err := d.gw.down(ctx); err != nil {
		return err
	}
	if err := sleep(ctx, 500*time.Millisecond); err != nil {
		return err
	}
	now, err := d.lab.Box.Snapshot(ctx)
	if err != nil {
		return err
	}
	if diff := now.Diff(d.untouched); diff != "" {
		d.fault("`ztbridge down` left the box changed")
		d.screen.print("`ztbridge down` left the box changed:\n%s", indent(diff))
		return nil
	}
	d.screen.print(
		"`ztbridge down`: rules, routes, nft, iptables and sysctls are as before it was ever " +
			"started.")
	return nil
}

// fault remembers something that was not as promised.
func (d *demo) fault(format string, args ...any) {
	d.faults = append(d.faults, fmt.Sprintf(format, args...))
}
