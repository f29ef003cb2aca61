package status

import (
	"errors"
	"maps"
	"net/netip"
	"slices"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/health"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/openvpn/endpoint"
	"ztbridge/bridge/openvpn/profile"
	"ztbridge/bridge/pathcheck"
	"ztbridge/bridge/prefixcheck"
	"ztbridge/bridge/probe"
	"ztbridge/bridge/reclaim"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

const everything = `
zerotier: {networks: [` + bridgetest.Network + `]}
ingress: [{name: lan, interface: br-lan}]
endpoint: {address: vm.example.org}
egress:
  provider: {openvpn: {profile: provider.ovpn}}
  home: {zerotier: {via: 10.147.17.2}}
  direct: {wan: {interface: eth0, ipv6: nat66}}
policy:
  - {from: [zerotier], to: 9.9.9.0/24, egress: [direct]}
  - {from: [zerotier, endpoint, lan], egress: [provider, home, direct]}
`

// well is the state of a box in which nothing is wrong.
func well(t *testing.T) Input {
	cfg := bridgetest.Parse(t, everything)
	listeners, err := decide.ListenersOf(cfg)
	if err != nil {
		t.Fatal(err)
	}
	s := decide.Snapshot{
		Now:       time.Unix(1_700_000_000, 0),
		Host:      decide.HostState(bridgetest.HostState("provider")),
		ZeroTier:  bridgetest.Joined(),
		Tunnels:   map[string]client.Status{"provider": bridgetest.Up("10.8.0.2/24")},
		Probes:    map[string]probe.Status{},
		Peers:     map[string]probe.Status{},
		Answered:  map[string]bool{},
		Loops:     map[string]bool{},
		Prefixes:  map[string]prefixcheck.Outcome{},
		Listeners: listeners,
	}
	s.ZeroTier.Service.State = zerotier.ServiceOK
	s.Host.Links = append(s.Host.Links, kernel.Link{Name: "br-lan", Index: 50, Up: true})
	s.Host.IPv6 = true
	return Input{Config: cfg, Snapshot: s}
}

// setTunnel and setNetwork put the one tunnel, or the one network, into a state.
func setTunnel(state client.State) func(*Input) {
	return func(in *Input) { in.Snapshot.Tunnels["provider"] = client.Status{State: state} }
}

// updateSays lets the image's updater report a problem.
func updateSays(code health.Code) func(*Input) {
	return func(in *Input) {
		in.Updates = []health.Problem{{Code: code, Message: "version 1.1.0 is there"}}
	}
}

// found lets the daemon itself find a problem.
func found(code health.Code) func(*Input) {
	return func(in *Input) {
		in.Found = []health.Problem{{Code: code, Message: "no space"}}
	}
}

func setNetwork(state zerotier.NetworkState) func(*Input) {
	return func(in *Input) {
		in.Snapshot.ZeroTier.Networks[0].State = state
		in.Snapshot.ZeroTier.Networks[0].Index = 5
		in.Snapshot.ZeroTier.Networks[0].Cause = "something"
	}
}

func setService(state zerotier.ServiceState) func(*Input) {
	return func(in *Input) {
		in.Snapshot.ZeroTier.Service = zerotier.ServiceStatus{State: state, Cause: "something"}
	}
}

func serviceSays(code health.Code) func(*Input) {
	return func(in *Input) {
		in.Snapshot.ZeroTier.Problems = []health.Problem{{Code: code, Message: "something"}}
	}
}

// broken makes each problem, by its code.
var broken = map[health.Code]func(*Input){
	health.WANDown: func(in *Input) { in.Snapshot.Host.Defaults = nil },
	health.WANSilent: func(in *Input) {
		in.Snapshot.Uplink = probe.Status{Grade: probe.Degraded}
	},
	health.ClockWrong:      found(health.ClockWrong),
	health.ConntrackFull:   func(in *Input) { in.Snapshot.Host.ConntrackFull = 65536 },
	health.ReconcileFailed: func(in *Input) { in.Pass.Err = errors.New("adding rule 15010") },
	health.WANShape: func(in *Input) {
		in.Pass.Queues = errors.New("no such queue")
		for i := range in.Config.Egresses {
			if w := in.Config.Egresses[i].WAN; w != nil {
				w.Shape = 50e6
			}
		}
	},
	health.IPTables:        func(in *Input) { in.Pass.Broken = []string{"no such table"} },
	health.PreparedNotice:  func(in *Input) { in.Notice.Message = "no profile was found" },
	health.OracleIdle:      func(in *Input) { in.Idle = &reclaim.Usage{} },
	health.UpdateAvailable: updateSays(health.UpdateAvailable),
	health.UpdateStaged:    updateSays(health.UpdateStaged),
	health.UpdateFailed:    updateSays(health.UpdateFailed),
	health.UpdateFellBack:  updateSays(health.UpdateFellBack),
	health.NotSetUp: func(in *Input) {
		unfinished := *in.Config
		unfinished.ZeroTier.Networks, unfinished.Interfaces, unfinished.Endpoint = nil, nil, nil
		in.Config = &unfinished
	},
	health.ConfigWarning: func(in *Input) {
		in.Warnings = []config.Warning{{Text: "this rule does nothing"}}
	},
	health.PageFailed:    func(in *Input) { in.Page = errors.New("address already in use") },
	health.HistoryFailed: found(health.HistoryFailed),
	health.NotifyFailed:  found(health.NotifyFailed),
	health.DiskFull:      found(health.DiskFull),
	health.DiskReadOnly:  found(health.DiskReadOnly),
	health.DiskErrors:    found(health.DiskErrors),
	health.ReloadRefused: func(in *Input) { in.Refused = errors.New("ztbridge.yaml:3: polcy") },
	health.ChoiceGone: func(in *Input) {
		in.Snapshot.Devices = []decide.DeviceState{{Egress: "provider",
			Device: decide.Device{Network: bridgetest.Network, Member: 0x89e92ceee5}}}
	},
	health.AddressTaken: func(in *Input) {
		in.Snapshot.Claims = []decide.Claim{{Addr: netip.MustParseAddr("10.147.17.5"), By: 2}}
	},
	health.EgressChosen: func(in *Input) { in.Snapshot.Preferred = "direct" },
	health.Closed: func(in *Input) {
		in.Config.Policy[0].To = []netip.Prefix{netip.MustParsePrefix("192.168.1.0/24")}
	},
	health.ServiceNotInstalled: setService(zerotier.ServiceNotInstalled),
	health.ServiceNotRunning:   setService(zerotier.ServiceNotRunning),
	health.ServiceNoToken:      setService(zerotier.ServiceNoToken),
	health.ServiceRefused:      setService(zerotier.ServiceRefused),
	health.ServiceBroken:       setService(zerotier.ServiceBroken),
	health.ServiceUnreachable:  serviceSays(health.ServiceUnreachable),
	health.ServiceRelayed:      serviceSays(health.ServiceRelayed),
	health.ServiceBlacklist:    serviceSays(health.ServiceBlacklist),
	health.ServiceLocalConf:    serviceSays(health.ServiceLocalConf),
	health.ServiceMoon:         serviceSays(health.ServiceMoon),
	health.ServiceIsMoon:       func(in *Input) { in.Snapshot.ZeroTier.Moon = 1 },
	health.NetworkJoining:      setNetwork(zerotier.NetworkJoining),
	health.NetworkOK:           setNetwork(zerotier.NetworkOK),
	health.NetworkDenied:       setNetwork(zerotier.NetworkDenied),
	health.NetworkNotFound:     setNetwork(zerotier.NetworkNotFound),
	health.NetworkNoDevice:     setNetwork(zerotier.NetworkNoDevice),
	health.NetworkClientTooOld: setNetwork(zerotier.NetworkClientTooOld),
	health.NetworkSignIn:       setNetwork(zerotier.NetworkSignIn),
	health.NetworkPublic: func(in *Input) {
		in.Snapshot.ZeroTier.Networks[0].Public = true
	},
	health.NetworkNoRoute: func(in *Input) {
		in.Snapshot.ZeroTier.Networks[0].Addrs = []netip.Prefix{
			netip.MustParsePrefix("10.147.17.1/24")}
	},
	health.NetworkOtherRoute: func(in *Input) {
		n := &in.Snapshot.ZeroTier.Networks[0]
		n.Addrs = []netip.Prefix{netip.MustParsePrefix("10.147.17.1/24")}
		n.Routes = []zerotier.Route{{Target: netip.MustParsePrefix("0.0.0.0/0"),
			Via: netip.MustParseAddr("10.147.17.9")}}
	},
	health.NetworkOverlap: func(in *Input) {
		in.Snapshot.ZeroTier.Networks[0].Prefixes = []netip.Prefix{
			netip.MustParsePrefix("10.0.0.0/8")}
	},
	health.TunnelStopped:      setTunnel(client.StateStopped),
	health.TunnelResolving:    setTunnel(client.StateResolving),
	health.TunnelConnecting:   setTunnel(client.StateConnecting),
	health.TunnelReconnecting: setTunnel(client.StateReconnecting),
	health.TunnelBackoff:      setTunnel(client.StateBackoff),
	health.TunnelAuthFailed:   setTunnel(client.StateAuthFailed),
	health.TunnelTLSFailed:    setTunnel(client.StateTLSFailed),
	health.TunnelDNSFailed:    setTunnel(client.StateDNSFailed),
	health.TunnelCertExpired:  setTunnel(client.StateCertExpired),
	health.TunnelConfigError:  setTunnel(client.StateConfigError),
	health.TunnelPushRefused:  setTunnel(client.StatePushRefused),
	health.TunnelWarning: func(in *Input) {
		tunnel := in.Snapshot.Tunnels["provider"]
		tunnel.Warnings = []string{"the cipher is weak"}
		in.Snapshot.Tunnels["provider"] = tunnel
	},
	health.ProbesUnanswered: func(in *Input) {
		in.Snapshot.Probes["provider"] = probe.Status{Grade: probe.Degraded}
	},
	health.EgressRing: func(in *Input) { in.Snapshot.Loops["provider"] = true },
	health.MemberUnreachable: func(in *Input) {
		in.Snapshot.Probes["home"] = probe.Status{Grade: probe.Degraded}
		in.Snapshot.Peers["home"] = probe.Status{Grade: probe.Degraded}
	},
	health.ViaUnusable: func(in *Input) {
		in.Snapshot.Host.Links[1].Addrs = []netip.Prefix{netip.MustParsePrefix("10.147.17.2/24")}
	},
	health.PrefixUnusable: func(in *Input) {
		in.Config.Egresses[2].WAN.IPv6 = config.WANIPv6{Mode: config.IPv6Prefix,
			Prefix: netip.MustParsePrefix("2001:db8:1::/64")}
	},
	health.WANWithoutRoute: func(in *Input) { in.Snapshot.Host.Defaults[0].Iface = "eth9" },
	health.WANMissing:      func(in *Input) { in.Config.Egresses[2].WAN.Interface = "eth7" },
	health.WANSignIn: func(in *Input) {
		router := in.Snapshot.Host.Default(policyroute.V4).Gateway
		in.Snapshot.Tunnels["provider"] = client.Status{State: client.StateBackoff,
			Remote: profile.Remote{Host: "vpn.example.net"},
			Server: netip.AddrPortFrom(router, 1194)}
	},
	health.IngressMissing: func(in *Input) { in.Config.Interfaces[0].Iface = "br-gone" },
	health.IngressDown: func(in *Input) {
		in.Snapshot.Host.Links[len(in.Snapshot.Host.Links)-1].Up = false
	},
	health.IngressAddress: func(in *Input) {
		in.addrs = linkAddrs{"br-lan": {netip.MustParsePrefix("10.5.0.1/24")}}
	},
	health.IngressUncovered: func(in *Input) {
		in.Config.Policy[1].From = in.Config.Policy[1].From[:1]
	},
	health.PathBlocked: func(in *Input) {
		setPath(in, false, func(p *decide.Paths, key string) {
			p.Blocks[key] = kernel.Block{Program: "nft", Table: "inet filter", Chain: "forward"}
		})
	},
	health.PathBroken: func(in *Input) {
		setPath(in, false, func(p *decide.Paths, key string) {
			p.Traced = map[string]bool{key: true}
		})
	},
	health.DNSBackup: func(in *Input) {
		in.Snapshot.DeadResolvers = decide.DeadResolvers{{Egress: "provider",
			Addr: netip.MustParseAddr("10.8.0.1")}: true}
	},
	health.EgressSilent: func(in *Input) {
		in.Snapshot.Probes["provider"] = probe.Status{Grade: probe.Fresh,
			Of: [2]probe.Grade{probe.Degraded, probe.Fresh}, Asked: [2]bool{true, true}}
		setPath(in, false, nil)
	},
	health.NoIPv4: func(in *Input) {
		in.Snapshot.Tunnels["provider"] = bridgetest.Up("fd08::2/64")
	},
	health.DNSUnanswered: func(in *Input) { setPath(in, true, nil) },
	health.PathDiverted: func(in *Input) {
		in.Snapshot.Paths.Diversions = []kernel.Diversion{{Iface: "br-lan", Rule: "100: …"}}
	},
	health.PathUnchecked: func(in *Input) { in.Snapshot.Paths.Err = pathcheck.ErrDevice },
	health.TunnelAddress: func(in *Input) {
		t := in.Snapshot.Tunnels["provider"]
		in.Snapshot.Servers = []netip.Addr{t.Session.Addrs[0].Addr()}
	},
	health.IngressDefault: func(in *Input) {
		in.Snapshot.Host.Defaults = append(in.Snapshot.Host.Defaults,
			kernel.DefaultRoute{Family: policyroute.V6, Iface: "br-lan",
				Gateway: netip.MustParseAddr("fe80::bad")})
	},
	health.IngressStacked: func(in *Input) {
		for i, l := range in.Snapshot.Host.Links {
			if l.Name == "br-lan" {
				in.Snapshot.Host.Links[i].Master = "bond0"
			}
		}
		in.Snapshot.Host.Links = append(in.Snapshot.Host.Links, kernel.Link{Name: "bond0"})
	},
	health.EndpointFailed: func(in *Input) {
		in.Snapshot.Faults.Keys = errors.New("no space left on device")
	},
	health.ListenerFailed: func(in *Input) {
		in.Snapshot.Endpoint.Listeners = []endpoint.ListenerStatus{{State: endpoint.StateFailed}}
	},
	health.LinksUnavailable: func(in *Input) {
		in.Snapshot.Faults.Links = errors.New("no certificate")
	},
}

// setPath makes the first of the box's own clients fail all checks, or DNS alone. The egress's own
// probes are answered, unless they are set before.
func setPath(in *Input, onlyDNS bool, more func(*decide.Paths, string)) {
	if _, set := in.Snapshot.Probes["provider"]; !set {
		in.Snapshot.Probes["provider"] = probe.Status{Grade: probe.Fresh}
	}
	c := decide.Decide(in.Config, in.Snapshot).PathClients[0]
	r := pathcheck.Result{At: in.Snapshot.Now, Plan: c.Plan}
	for _, k := range pathcheck.Kinds {
		r.Outcomes[k] = pathcheck.Outcome{Asked: true, Answered: onlyDNS && k != pathcheck.DNS}
	}
	in.Snapshot.Paths = decide.Paths{Results: map[string]pathcheck.Result{c.Key: r},
		Blocks: map[string]kernel.Block{}}
	if more != nil {
		more(&in.Snapshot.Paths, c.Key)
	}
}

// report decides on what is given and reports it.
func report(in Input) []api.Condition {
	in.Decided = decide.Decide(in.Config, in.Snapshot)
	in.Applied = in.Decided
	return NewReporter().Report(in).Conditions
}

func TestNothingIsWrongWithAHealthyBox(t *testing.T) {
	if got := report(well(t)); len(got) > 0 {
		t.Errorf("%+v", got)
	}
}

// Every kind of problem that is registered is reported when it is there.
func TestEveryProblemIsReported(t *testing.T) {
	for _, kind := range health.Kinds() {
		breakIt, ok := broken[kind.Code]
		if !ok {
			t.Errorf("nothing here produces %s", kind.Code)
			continue
		}
		in := well(t)
		breakIt(&in)
		found := report(in)
		if !slices.ContainsFunc(found, func(c api.Condition) bool {
			return c.Code == kind.Code && c.Message != ""
		}) {
			t.Errorf("%s is not reported, only %+v", kind.Code, found)
		}
	}
}

// A tunnel without its queue says nothing of a WAN that is shaped.
func TestShapedWANBesideATunnelWithoutQueue(t *testing.T) {
	in := well(t)
	broken[health.WANShape](&in)
	shapes := decide.Shapes(in.Config, decide.Decide(in.Config, in.Snapshot).Intent)
	wan := slices.Collect(maps.Keys(shapes))[0]
	for device, want := range map[string]bool{"tunztb-provider": false, wan: true} {
		in.Pass.Queues = kernel.QueueErrors{device: kernel.ErrNoQueue}
		told := slices.ContainsFunc(report(in), func(c api.Condition) bool {
			return c.Code == health.WANShape
		})
		if told != want {
			t.Errorf("%s has not its queue: the WAN is told unshaped: %v", device, told)
		}
	}
}
