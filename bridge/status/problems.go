package status

import (
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"unicode"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/health"
	"ztbridge/bridge/probe"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// conditions lists the problems, worst first, with their remedies.
func (r *Reporter) conditions(in Input) []api.Condition {
	out := []api.Condition{}
	if in.addrs == nil {
		in.addrs = r.addrs.follow(in)
	}
	for _, p := range problems(in) {
		p = p.Fill()
		kind, _ := health.Lookup(p.Code)
		// An egress may have several warnings, each of its own time: the message tells them apart,
		// but for numbers in it, which may change while the problem goes on.
		since := r.history.Record(in.Snapshot.Now, strings.Join([]string{"condition",
			string(p.Code), p.Subject, withoutDigits(p.Message)}, " "), "", "").At
		out = append(out, api.Condition{
			Code: p.Code, Subject: p.Subject, Severity: p.Severity, Since: since,
			Message: p.Message, Remedy: p.Remedy, Command: p.Command,
			DependsOn: kind.DependsOn,
		})
	}
	slices.SortStableFunc(out, func(a, b api.Condition) int {
		return health.Compare(a.Severity, b.Severity)
	})
	return out
}

func withoutDigits(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return -1
		}
		return r
	}, text)
}

// problems returns all problems. It is pure.
func problems(in Input) []health.Problem {
	s := in.Snapshot
	out := append(boxProblems(in), pathProblems(in)...)
	out = append(out, in.Found...)
	out = append(out, zerotierProblems(in.Config, s)...)
	for _, e := range in.Config.Egresses {
		out = append(out, tunnelProblems(in, e)...)
		for _, p := range egressProblems(e, s, in.Decided) {
			if p.Code != health.ProbesUnanswered || !toldSilent(in, out, e.Name) {
				out = append(out, p)
			}
		}
	}
	out = append(out, closedProblems(in.Decided.Intent)...)
	out = append(out, EndpointProblems(s)...)
	for _, i := range in.Config.Interfaces {
		out = append(out, linkProblems(in, i)...)
	}
	out = append(out, ingressProblems(in.Decided.Intent, s.Host)...)
	out = append(out, choiceProblems(in)...)
	out = append(out, deviceProblems(in.Config, s)...)
	if in.Idle != nil {
		out = append(out, idleProblem(*in.Idle, runtime.GOARCH))
	}
	return out
}

// unshaped returns why interfaces that are to be shaped are not. A tunnel that has not the queue
// that it should is no concern of theirs.
func unshaped(in Input) error {
	shapes := decide.Shapes(in.Config, in.Decided.Intent)
	if len(shapes) == 0 {
		return nil
	}
	all, ok := errors.AsType[kernel.QueueErrors](in.Pass.Queues)
	if !ok {
		return in.Pass.Queues
	}
	of := kernel.QueueErrors{}
	for name, err := range all {
		if _, asked := shapes[name]; asked {
			of[name] = err
		}
	}
	if len(of) == 0 {
		return nil
	}
	return of
}

// boxProblems returns problems of the machine itself.
func boxProblems(in Input) []health.Problem {
	var out []health.Problem
	if in.Pass.Err != nil {
		out = append(out, health.Problem{Code: health.ReconcileFailed,
			Message: in.Pass.Err.Error(), Remedy: "see the log: journalctl -u ztbridge"})
	}
	if len(in.Pass.Broken) > 0 {
		out = append(out, health.Problem{Code: health.IPTables,
			Message: strings.Join(in.Pass.Broken, "; "),
			Remedy: "traffic flows all the same, unless a filter of this host refuses it: then " +
				"let it accept what ztbridge forwards, or repair iptables; until then, the " +
				"chains that ztbridge has there stay as they are"})
	}
	if err := unshaped(in); err != nil {
		out = append(out, health.Problem{Code: health.WANShape, Message: err.Error(),
			Remedy: "the line works, unshaped; cake needs the kernel module sch_cake, and no " +
				"queue of another program on that interface (tc qdisc show)"})
	}
	out = append(append(out, wanProblems(in)...), connectionProblems(in.Snapshot.Host)...)
	if in.Refused != nil {
		out = append(out, health.Problem{Code: health.ReloadRefused,
			Message: "the configuration file has an error; the one that was read before is in " +
				"force: " + in.Refused.Error(),
			Remedy: "correct the file, then: ztbridge reload (or, to leave things as they are: " +
				"ztbridge reload --keep)"})
	}
	if in.Page != nil {
		out = append(out, health.Problem{Code: health.PageFailed,
			Message: "the page cannot be opened: " + in.Page.Error(),
			Remedy:  "see who else listens on its port, or give it another: page: {port: 8080}",
			Command: "ss -tlpn"})
	}
	if n := in.Notice; n.Message != "" {
		p := health.Problem{Code: health.PreparedNotice, Message: n.Message, Remedy: n.Remedy}
		if n.Remedy == "" && strings.Contains(n.Message, "warning: ") {
			p.Severity = health.Info // remarks on what is in force: nothing is left to be done
		}
		out = append(out, p)
	}
	return append(out, in.Updates...)
}

// choiceProblems returns problems of the person's files and choices.
func choiceProblems(in Input) []health.Problem {
	var out []health.Problem
	if lacks := in.Config.Unfinished(); lacks != "" {
		out = append(out, health.Problem{Code: health.NotSetUp,
			Message: "this box is not set up yet and lets nothing through: " + lacks,
			Remedy:  "open its page in a browser on its network, at http:// and the box's address"})
	}
	warnings := append(slices.Clone(in.Warnings), in.Config.CheckClients(
		slices.Collect(maps.Keys(in.Snapshot.Clients)), in.Snapshot.Revoked)...)
	for _, w := range warnings {
		out = append(out, health.Problem{Code: health.ConfigWarning, Subject: w.Position.String(),
			Message: w.Text})
	}
	if chosen := in.Snapshot.Preferred; chosen != "" {
		out = append(out, health.Problem{Code: health.EgressChosen, Subject: chosen,
			Message: chosen + " was selected manually",
			Remedy:  "to follow the configuration again: ztbridge egress reset"})
	}
	return out
}

// zerotierProblems returns problems of the service and of the memberships.
func zerotierProblems(cfg *config.Config, s decide.Snapshot) []health.Problem {
	if !cfg.ZeroTier.Used() {
		return nil
	}
	var out []health.Problem
	if p, bad := s.ZeroTier.Service.Problem(); bad {
		out = append(out, p)
	}
	if moon := s.ZeroTier.Moon; moon != 0 {
		out = append(out, health.Problem{Code: health.ServiceIsMoon, Subject: moon.String(),
			Message: "this box is a ZeroTier moon",
			Remedy:  fmt.Sprintf("others use it after: zerotier-cli orbit %[1]s %[1]s", moon)})
	}
	out = append(out, s.ZeroTier.Problems...)
	for _, n := range cfg.ZeroTier.Networks {
		st := decide.Network(cfg, s, n.Name)
		if p, bad := st.Problem(n.Name); bad && !s.Host.Renamed(st.Iface) {
			out = append(out, p)
		}
		if st.State == zerotier.NetworkOK {
			out = append(out, memberProblems(cfg, s, n.Name, st)...)
		}
	}
	return out
}

// tunnelProblems returns problems of an OpenVPN egress. They are errors while no egress carries any
// traffic.
func tunnelProblems(in Input, e config.Egress) []health.Problem {
	s := in.Snapshot
	if e.OpenVPN == nil {
		return nil
	}
	out := s.Tunnels[e.Name].Problems(e.Name)
	if why := decide.AddressConflict(in.Config, e, s); why != "" {
		out = append(out, health.Problem{Code: health.TunnelAddress, Subject: e.Name,
			Message: why + ": the tunnel is not used",
			Remedy: "connect to another server of the provider, or change what has the " +
				"address"})
	}
	for i := range out {
		if out[i].Code != health.TunnelWarning && !inUse(in.Decided) {
			out[i].Severity = health.Error
		}
	}
	return out
}

// egressProblems returns problems that an egress of any kind may have.
func egressProblems(e config.Egress, s decide.Snapshot, decided decide.Decision) []health.Problem {
	var out []health.Problem
	add := func(code health.Code, message, remedy string) {
		out = append(out,
			health.Problem{Code: code, Subject: e.Name, Message: message, Remedy: remedy})
	}
	if e.WAN != nil && e.WAN.Interface != "" {
		up := decide.UplinkOf(e.WAN, s.Host)
		switch {
		case !s.Host.Exists(e.WAN.Interface):
			add(health.WANMissing, "there is no interface "+up.Iface+": "+e.Name+" leads nowhere",
				"plug it in; if it has another name now, correct interface: of "+e.Name+
					", then: ztbridge reload")
		case !up.Has4 && !up.Has6:
			add(health.WANWithoutRoute, "this box has no default route by "+up.Iface+
				", so its gateway is not known",
				"give it one that comes after the box's own: ip route add default via GATEWAY dev "+
					up.Iface+" metric 9000")
		}
	}
	if message, remedy := prefixTrouble(e, s, decided.Intent); message != "" {
		add(health.PrefixUnusable, message, remedy)
	}
	switch message := decide.CheckNextHop(e, s.Host); {
	case message != "":
		add(health.ViaUnusable, message,
			"write the address of the ZeroTier peer to go through under via:, then: "+
				"ztbridge reload")
	case s.Loops[e.Name]:
		add(health.EgressRing, "what leaves by "+e.Name+
			" comes back to this box: boxes send it in a circle; it is blocked",
			"run ztbridge status on each of the boxes: one of them must have an exit that does "+
				"not lead to another")
	case decide.Unreachable(e, s):
		add(health.MemberUnreachable,
			"neither the ZeroTier peer of "+e.Name+" nor anything beyond it answers",
			"check that that machine runs, is authorised and online in the network, and has "+
				"the address under via:")
	case s.Probes[e.Name].Grade == probe.Degraded && decided.Health[e.Name] > decide.Unusable:
		add(health.ProbesUnanswered, "nothing beyond "+e.Name+" answers this box's probes",
			"if it works all the same, its provider drops them: set probe.targets to hosts "+
				"that answer")
	}
	return out
}

// closedProblems returns rules for destinations that their egress does not lead to: a person who
// names a network of the box as a destination expects to reach it.
func closedProblems(in policyroute.Intent) []health.Problem {
	var out []health.Problem
	for _, p := range in.Policies {
		for _, e := range in.Egresses {
			within := func(to netip.Prefix) bool {
				return slices.ContainsFunc(e.Closed,
					func(c netip.Prefix) bool { return decide.Covers(c, to) })
			}
			i := slices.IndexFunc(p.To, within)
			if i < 0 || !slices.Contains(p.Egress, e.Name) {
				continue
			}
			out = append(out, health.Problem{Code: health.Closed, Subject: p.Name + " " + e.Name,
				Message: fmt.Sprintf(
					"%s sends to %s by %s, which leads to the Internet and not to networks of "+
						"this box: blocked", api.RuleTitle(p.Name), p.To[i], e.Name),
				Remedy: fmt.Sprintf("write {from: …, to: %s} under peering:, then: ztbridge "+
					"reload", p.To[i])})
		}
	}
	return out
}

// inUse reports whether an egress carries the traffic of any list.
func inUse(desired decide.Decision) bool {
	for _, c := range desired.Choices {
		if c.Egress != "" {
			return true
		}
	}
	return false
}
