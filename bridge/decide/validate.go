package decide

import (
	"fmt"
	"net/netip"
	"slices"

	"ztbridge/bridge/config"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// Validate refuses a configuration with which every pass would fail. It decides and compiles once
// as if every device and service were there.
func Validate(cfg *config.Config, listeners []Listener) error {
	errs := append(sharedDevices(cfg), sharedIfaces(cfg)...)
	always := *cfg // what may be in force at some time of the week
	always.Policy = slices.Clone(cfg.Policy)
	for i := range always.Policy {
		always.Policy[i].At = nil
	}
	intent := Decide(&always, everythingUp(cfg, listeners)).Intent
	errs = append(errs, tooMany(cfg, intent)...)
	if len(errs) > 0 {
		return errs
	}
	if _, err := policyroute.Compile(intent); err != nil {
		return config.Errors{{Position: config.Position{File: cfg.File},
			Problem: "this configuration " + err.Error(), Err: err}}
	}
	return nil
}

// everythingUp returns a snapshot in which all that a configuration names exists and works.
func everythingUp(cfg *config.Config, listeners []Listener) Snapshot {
	s := Snapshot{
		ZeroTier: UnqueriedNetworks(cfg.ZeroTier), Listeners: listeners,
		Tunnels: map[string]client.Status{}, Clients: map[string][]netip.Addr{},
	}
	s.Host.IPv6 = true
	link := func(name string) {
		if name != "" && !s.Host.Exists(name) {
			s.Host.Links = append(s.Host.Links,
				kernel.Link{Name: name, Index: len(s.Host.Links) + 1, Up: true, MTU: 1500})
		}
	}
	for i := range s.ZeroTier.Networks {
		s.ZeroTier.Networks[i].State = zerotier.NetworkOK
		link(s.ZeroTier.Networks[i].Iface)
	}
	for _, i := range cfg.Interfaces {
		link(i.Iface)
	}
	for _, l := range listeners {
		link(l.Device)
	}
	for _, e := range cfg.Egresses {
		switch {
		case e.OpenVPN != nil:
			link(TunnelDevice(e.Name))
			// TEST-NET-1 (RFC 5737)
			addr := netip.PrefixFrom(netip.AddrFrom4([4]byte{192, 0, 2, byte(len(s.Host.Links))}),
				32)
			s.Tunnels[e.Name] = client.Status{State: client.StateUp,
				Session: &client.Session{Addrs: []netip.Prefix{addr}, MTU: 1500}}
		case e.WAN != nil:
			link(e.WAN.Interface)
		}
	}
	for _, r := range cfg.Policy {
		for _, sel := range r.From {
			if sel.Kind == config.ByClient && len(listeners) > 0 {
				// always one of the pool
				s.Clients[sel.Client], _ = listeners[0].Pool.Client(listeners[0].Pool.LastHost())
			}
		}
	}
	return s
}

// sharedDevices returns errors for egresses whose TUN devices would have the same name. A long name
// is cut, and its checksum is short.
func sharedDevices(cfg *config.Config) (errs config.Errors) {
	owner := map[string]string{}
	for _, e := range cfg.Egresses {
		if e.OpenVPN == nil {
			continue
		}
		device := TunnelDevice(e.Name)
		if other, taken := owner[device]; taken {
			errs = append(errs, &config.Error{
				Position: e.Pos, Err: config.ErrDuplicate,
				Problem: fmt.Sprintf("its network device would be %s, and that is %q's", device,
					other), Remedy: "rename one of the two",
			})
		}
		owner[device] = e.Name
	}
	return errs
}

// sharedIfaces returns errors for networks that are an ingress twice, by name and by interface.
func sharedIfaces(cfg *config.Config) (errs config.Errors) {
	for _, n := range UnqueriedNetworks(cfg.ZeroTier).Networks {
		for _, i := range cfg.Interfaces {
			if i.Iface == n.Iface {
				errs = append(errs, &config.Error{
					Position: i.Pos, Err: config.ErrDuplicate,
					Problem: fmt.Sprintf(
						"%s is the interface of the network %s, which is an ingress already",
						i.Iface, n.ID), Remedy: "remove it here",
				})
			}
		}
	}
	return errs
}

// tooMany returns errors for what exceeds the number of tables.
func tooMany(cfg *config.Config, intent policyroute.Intent) (errs config.Errors) {
	if limit := policyroute.TableEgressLast - policyroute.TableEgressFirst +
		1; len(intent.Egresses) > limit {
		errs = append(errs, &config.Error{
			Position: config.Position{File: cfg.File, Key: "egress"}, Err: config.ErrValue,
			Problem: fmt.Sprintf(
				"there are %d ways out, counting each prefix under `peering:`, and at most %d "+
					"are possible", len(intent.Egresses), limit),
			Remedy: "remove some",
		})
	}
	limit := policyroute.TablePolicyLast - policyroute.TablePolicyFirst + 1
	lists := map[EgressList]bool{}
	for _, r := range cfg.Policy {
		for _, choice := range r.Choose {
			if lists[NewEgressList(r.ListOf(choice))] = true; len(lists) > limit {
				return append(errs, &config.Error{Position: r.Pos, Err: config.ErrValue,
					Problem: fmt.Sprintf("the policy leaves a choice between more than %d lists "+
						"of egresses", limit), Remedy: "offer fewer under `choose:`"})
			}
		}
	}
	for _, p := range intent.Policies {
		if slices.Contains(p.Ingress, pathIngress) {
			continue // a rule of the file has the same list
		}
		lists[NewEgressList(p.Egress)] = true
		if len(lists) > limit {
			return append(errs, &config.Error{
				Position: ruleAt(cfg, p.Name), Err: config.ErrValue,
				Problem: fmt.Sprintf("the policy has more than %d different lists of egresses",
					limit), Remedy: "give more rules the same list, in the same order",
			})
		}
	}
	return errs
}

// ruleAt returns the place of an intent's policy in the file.
func ruleAt(cfg *config.Config, name string) config.Position {
	if i := slices.IndexFunc(cfg.Policy,
		func(r config.Rule) bool { return r.Name == name }); i >= 0 {
		return cfg.Policy[i].Pos
	}
	return config.Position{File: cfg.File, Key: "policy"}
}
