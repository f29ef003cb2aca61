package status

import (
	"cmp"
	"fmt"
	"maps"
	"net/netip"
	"runtime"
	"slices"
	"strings"
	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/probe"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute"
)

// Codes of conditions. They are part of the JSON interface and do not change.
const (
	codeWANDown        = "wan-down"
	codeReconcile      = "reconcile-failed"
	codeTunnel         = "tunnel-" // followed by the tunnel's state
	codeTunnelWarning  = "tunnel-warning"
	codeProbes         = "probes-unanswered"
	codeService        = "zerotier-" // followed by the service's state
	codeNetwork        = "network-"  // followed by the network's state
	codeConfigWarning  = "config-warning"
	codeChosen         = "egress-chosen"
	codeMoon           = "zerotier-is-moon"
	codeIngressMissing = "ingress-missing"
	codeListener       = "listener-failed"
	codeEndpoint       = "endpoint-failed"
	codeLinks          = "links-unavailable"
	codeRing           = "egress-ring"
	codeUnreachable    = "member-unreachable"
	codeVia            = "via-unusable"
	codePrefix         = "prefix-unusable"
	codeNoRoute        = "wan-without-route"
	codeClosed         = "destination-closed"
	codeNotice         = "notice"
	codeIdle           = "oracle-idle"
	codeIPTables       = "iptables-unusable"
)

// conditions lists what is not as it should be, worst first, with what to do about it.
func (r *Reporter) conditions(in Input) []api.Condition {
	s, desired, pass := in.Snapshot, in.Decided, in.Pass
	c := []api.Condition{}
	add := func(code, subject string, severity api.Severity, message, remedy string,
		depends ...string) {
		since := r.history.Record(s.Now, "condition "+code+" "+subject, message, "").At
		c = append(c, api.Condition{
			Code: code, Subject: subject, Severity: severity, Since: since, Message: message,
			Remedy: remedy, DependsOn: depends,
		})
	}
	if pass.Err != nil {
		add(codeReconcile, "", api.SeverityError, pass.Err.Error(),
			"see the log: journalctl -u ztbridge")
	}
	if len(pass.Broken) > 0 {
		add(codeIPTables, "", api.SeverityWarning, strings.Join(pass.Broken, "; "),
			"traffic flows all the same, unless a filter of this host refuses it: then let it "+
				"accept what ztbridge forwards, or mend iptables; until then, what chains "+
				"ztbridge has there stay as they are")
	}
	if decide.UplinkID(s.Host) == "" {
		add(codeWANDown, "", api.SeverityError, "this box has no default route of its own",
			"check its cable, Wi-Fi or DHCP")
	}
	if n := in.Notice; n.Message != "" {
		severity := api.SeverityWarning
		if n.Remedy == "" && strings.Contains(n.Message, "warning: ") {
			severity = api.SeverityInfo // remarks on what is in force: nothing is left to be done
		}
		add(codeNotice, "", severity, n.Message, n.Remedy)
	}
	zerotierConditions(in.Config, s, add)
	for _, e := range in.Config.Egresses {
		egressConditions(e, s, desired, add)
	}
	closedConditions(desired.Intent, add)
	EndpointConditions(s, add)
	for _, i := range in.Config.Interfaces {
		if !s.Host.Exists(i.Iface) {
			add(codeIngressMissing, i.Name, api.SeverityWarning, "there is no interface "+i.Iface,
				"create it, or correct its name in the configuration")
		}
	}
	warnings := append(slices.Clone(in.Warnings),
		in.Config.CheckClients(slices.Collect(maps.Keys(s.Clients)), s.Revoked)...)
	for _, w := range warnings {
		add(codeConfigWarning, w.Position.String(), api.SeverityWarning, w.Text, "")
	}
	if s.Preferred != "" {
		add(codeChosen, s.Preferred, api.SeverityInfo, "a person chose egress "+s.Preferred,
			"to follow the configuration again: ztbridge egress reset")
	}
	if in.Idle != nil {
		idleCondition(*in.Idle, runtime.GOARCH, add)
	}
	order := map[api.Severity]int{api.SeverityError: 0, api.SeverityWarning: 1, api.SeverityInfo: 2}
	slices.SortStableFunc(c, func(a, b api.Condition) int {
		return cmp.Compare(order[a.Severity], order[b.Severity])
	})
	return c
}

type addCondition func(code, subject string, severity api.Severity, message, remedy string,
	depends ...string)

func zerotierConditions(cfg *config.Config, s decide.Snapshot, add addCondition) {
	if !cfg.ZeroTier.Used() {
		return
	}
	service := codeService + string(s.ZeroTier.Service.State)
	if st := s.ZeroTier.Service; st.State != zerotier.ServiceOK &&
		st.State != zerotier.ServiceUnknown {
		add(service, "", api.SeverityError, st.Cause, st.Remedy)
	}
	if moon := s.ZeroTier.Moon; moon != 0 {
		add(codeMoon, moon.String(), api.SeverityInfo, "this box is a ZeroTier moon",
			fmt.Sprintf("others follow it with: zerotier-cli orbit %[1]s %[1]s", moon))
	}
	for _, c := range s.ZeroTier.Conditions {
		add(string(c.Code), "", api.SeverityWarning, c.Cause, c.Remedy, codeWANDown)
	}
	for _, n := range cfg.ZeroTier.Networks {
		st := decide.Network(cfg, s, n.Name)
		if st.State == zerotier.NetworkOK && st.Cause == "" ||
			st.State == zerotier.NetworkUnknown || st.State == "" {
			continue
		}
		severity := api.SeverityError
		if st.State == zerotier.NetworkOK || st.Waiting {
			severity = api.SeverityWarning
		}
		add(codeNetwork+string(st.State), n.Name, severity, st.Cause, st.Remedy, codeWANDown,
			service)
	}
}

func egressConditions(e config.Egress, s decide.Snapshot, desired decide.Decision,
	add addCondition) {
	if e.OpenVPN != nil {
		t := s.Tunnels[e.Name]
		if t.State != client.StateUp && t.State != "" {
			severity := api.SeverityWarning
			if !inUse(desired) {
				severity = api.SeverityError
			}
			message := fmt.Sprintf("tunnel %s is %s", e.Name, t.State)
			if t.Cause != "" {
				message += ": " + t.Cause
			}
			add(codeTunnel+string(t.State), e.Name, severity, message, t.Remedy, codeWANDown)
		}
		for _, w := range t.Warnings {
			add(codeTunnelWarning, e.Name, api.SeverityInfo, w, "")
		}
	}
	if e.WAN != nil && e.WAN.Interface != "" && s.Host.Exists(e.WAN.Interface) {
		if up := decide.UplinkOf(e.WAN, s.Host); !up.Has4 && !up.Has6 {
			add(codeNoRoute, e.Name, api.SeverityWarning, "the main table has no default route by "+
				up.Iface+", so that its gateway is not known",
				"give it one that comes after the box's own: ip route add default via GATEWAY dev "+
					up.Iface+" metric 9000", codeWANDown)
		}
	}
	if message, remedy := prefixTrouble(e, s, desired.Intent); message != "" {
		add(codePrefix, e.Name, api.SeverityWarning, message, remedy, codeWANDown)
	}
	if message := decide.CheckNextHop(e, s.Host); message != "" {
		add(codeVia, e.Name, api.SeverityError, message,
			"write the address of the member to go through, and reload")
		return
	}
	switch {
	case s.Loops[e.Name]:
		add(codeRing, e.Name, api.SeverityError, "what leaves by "+e.Name+
			" comes back to this box: it is part of a ring of boxes, and refused",
			"follow it from box to box with `ztbridge status`: one of them must have a way out "+
				"that does not lead to another")
		return
	case decide.Unreachable(e, s):
		add(codeUnreachable, e.Name, api.SeverityError,
			"neither the member of "+e.Name+" nor anything behind it answers",
			"see whether that machine runs and is online in the network; or `via` is not its "+
				"address", codeWANDown)
		return
	}
	if s.Probes[e.Name].Grade == probe.Degraded && desired.Health[e.Name] > decide.Unusable {
		add(codeProbes, e.Name, api.SeverityWarning, "probes through "+e.Name+" go unanswered",
			"if it works all the same, its provider drops echoes: set probe.targets to hosts "+
				"that answer", codeWANDown)
	}
}

// closedConditions tells of rules for destinations to which their egress does not lead: a person
// who names a network of the box's own as a destination expects to get there.
func closedConditions(in policyroute.Intent, add addCondition) {
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
			add(codeClosed, p.Name+" "+e.Name, api.SeverityWarning,
				fmt.Sprintf(
					"%s sends to %s by %s, which leads to the Internet and not to networks that "+
						"this box is in: it is refused", p.Name, p.To[i], e.Name),
				fmt.Sprintf("write it under `peering`, as {from: …, to: %s}", p.To[i]))
		}
	}
}

// inUse says whether any list of egresses has one that carries its traffic.
func inUse(desired decide.Decision) bool {
	for _, c := range desired.Choices {
		if c.Egress != "" {
			return true
		}
	}
	return false
}
