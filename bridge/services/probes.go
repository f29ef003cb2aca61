package services

import (
	"fmt"

	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/portal"
	"ztbridge/bridge/probe"
)

// probeTask probes an egress while the monitor asks for it.
func (d *Set) probeTask(was, next *services, e config.Egress, mark uint32, cfg config.Probe) task {
	id := "probe " + e.Name
	key := fmt.Sprintf("%s %s %x %+v", id, e.Kind(), mark, cfg)
	if next.keeps(was, id, key) {
		next.probers[e.Name], next.nonces[e.Name] = was.probers[e.Name], was.nonces[e.Name]
	} else {
		nonce := probe.NewNonce()
		next.nonces[e.Name] = nonce
		next.probers[e.Name] = probe.NewPair(probe.Config{
			Egress: e.Name, Mark: mark, Nonce: nonce, Targets: cfg.Targets, Interval: cfg.Interval,
			HoldDown: cfg.HoldDown,
			Traffic:  d.trafficBy(e), Device: d.deviceOf(e),
			Notify: func() { d.trigger.Fire("probe " + e.Name) }, Logger: d.env.Logger,
		}, d.traffic6By(e))
	}
	return task{key: key, run: next.probers[e.Name].Run}
}

// deviceOf returns what names the interface that alone brings what an egress answers. What a host
// sends to one of its addresses on the WAN may come by another interface on the same network: there
// is none then.
func (d *Set) deviceOf(e config.Egress) func() string {
	switch {
	case e.OpenVPN != nil:
		return func() string { return decide.TunnelDevice(e.Name) }
	case e.Peer != nil:
		return func() string { return d.view.Load().devices[e.Name] }
	default:
		return nil
	}
}

// trafficBy returns what tells a prober how busy its egress is. Only a tunnel has an interface to
// itself: what came in by another says nothing about the way to the Internet.
func (d *Set) trafficBy(e config.Egress) func() probe.Traffic {
	if e.OpenVPN != nil {
		return func() probe.Traffic { return trafficOf(decide.TunnelDevice(e.Name)) }
	}
	return func() probe.Traffic {
		t := trafficOf(d.view.Load().devices[e.Name])
		t.Received = 0
		return t
	}
}

// traffic6By returns what tells how much of it is IPv6; nil where it does not matter.
func (d *Set) traffic6By(e config.Egress) func() probe.Traffic {
	if e.OpenVPN == nil {
		return nil
	}
	return func() probe.Traffic { return traffic6Of(decide.TunnelDevice(e.Name)) }
}

// uplinkTask probes the host's own line while the monitor asks for it.
func (d *Set) uplinkTask(was, next *services, cfg config.Probe) task {
	const id = "probe of the host's own line"
	key := fmt.Sprintf("%s %+v", id, cfg)
	if next.keeps(was, id, key) {
		next.uplink = was.uplink
	} else {
		next.uplink = probe.NewPair(probe.Config{
			Egress: "the host's own line", Nonce: probe.NewNonce(), Targets: cfg.Targets,
			Interval: cfg.Interval, HoldDown: cfg.HoldDown,
			Notify: func() { d.trigger.Fire(id) }, Logger: d.env.Logger,
		}, nil)
	}
	return task{key: key, run: next.uplink.Run}
}

// portalTask looks for a page to sign in at while the monitor asks for it. Hosts of several owners
// are asked: those that are probed, and the usual ones.
func (d *Set) portalTask(was, next *services, cfg config.Probe) task {
	const id = "sign-in page"
	key := fmt.Sprintf("%s %v", id, cfg.Targets)
	if next.keeps(was, id, key) {
		next.portal = was.portal
	} else {
		next.portal = portal.New(portal.Config{
			Targets: appendNew(cfg.Targets[:len(cfg.Targets):len(cfg.Targets)],
				config.DefaultTargets()),
			Notify: func() { d.trigger.Fire(id) },
		})
	}
	return task{key: key, run: next.portal.Run}
}
