package status

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/health"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/policyroute"
)

func prefixWords(prefixes []netip.Prefix) string {
	var words []string
	for _, p := range prefixes {
		words = append(words, p.String())
	}
	return strings.Join(words, ", ")
}

func ingressKind(cfg *config.Config, name string) string {
	if cfg.Endpoint != nil && slices.ContainsFunc(cfg.Endpoint.Listen,
		func(l config.Listener) bool { return decide.ListenerDevice(l) == name }) {
		return "endpoint"
	}
	for _, n := range cfg.ZeroTier.Networks {
		if n.Name == name {
			return "zerotier"
		}
	}
	return "interface"
}

// overall summarises the status in one word and one sentence. applied reports whether the last pass
// was carried out. A problem that cuts clients off comes first, whatever tunnels are up.
func overall(st api.Status, applied bool) (api.State, string) {
	moving, refused, second, answering := 0, 0, 0, 0
	for _, p := range st.Policies {
		if p.Egress != "" && answers(st.Egresses, p.Egress) {
			answering++
		}
		switch {
		case len(p.Wanted) == 0 || p.Off:
		case p.Egress == "":
			refused++
		case p.Egress != p.Wanted[0] && p.Egress != st.Override:
			second++
			moving++
		default:
			moving++
		}
	}
	for _, d := range st.Devices {
		switch {
		case len(d.Addresses) == 0 || d.Off: // not met yet, or another rule is for it now
		case d.Egress == "":
			refused++
		case d.Egress != d.Choice:
			second++
		}
	}
	fault, troubled := worst(st.Conditions), slices.ContainsFunc(st.Conditions,
		func(c api.Condition) bool { return c.Severity.AtLeast(health.Warning) })
	switch {
	case !applied:
		return api.Degraded, "The kernel could not be changed: what was in force before stays."
	case fault.Code == health.NotSetUp:
		return api.Closed, sentence(fault.Message)
	case moving == 0 && refused == 0:
		return api.Working, blockedByRules(st.Policies)
	case answering == 0 && fault.Code == health.WANDown:
		return api.Closed, "This box has no Internet connection. Clients have none until it has; " +
			"nothing leaks."
	case answering == 0 && fault.Code == health.WANSilent:
		what, _, _ := strings.Cut(fault.Message, ":")
		return api.Closed, sentence(what) +
			" Clients have no Internet until it does; nothing leaks."
	case answering == 0 && fault.Code == health.WANSignIn:
		return api.Closed, "This network seems to want a sign-in first. Clients have no Internet " +
			"until then; nothing leaks."
	case moving == 0:
		return api.Closed,
			"No exit is connected. Clients have no Internet until one is; nothing leaks."
	case fault.Message != "":
		return api.Degraded, sentence(fault.Message)
	case refused > 0:
		return api.Degraded, "Some devices have no exit that is connected, and are blocked."
	case second > 0:
		return api.Degraded, "Working, but on a backup exit."
	case troubled:
		return api.Degraded, "Working, but something needs attention."
	}
	return api.Working, "Working: every device leaves as configured."
}

// WithoutDaemon says what a kernel that holds this means for clients while no daemon runs.
func WithoutDaemon(have policyroute.State) (api.State, string) {
	switch {
	case slices.ContainsFunc(have.Routes, leadsOn):
		return api.Degraded, "ztbridge is not running. What uses no tunnel still passes, as it " +
			"did last; everything else is blocked."
	case !have.Nft.Empty():
		return api.Closed, "ztbridge is not running. The box is closed: clients have no Internet."
	}
	return api.Stopped, "ztbridge is not running, and nothing of it is in the kernel."
}

// leadsOn reports whether clients' packets go on leaving by a route of ours without a daemon: one
// that was killed could not close it. What is routed to a tunnel ends there.
func leadsOn(r policyroute.Route) bool {
	return r.Table >= policyroute.TablePolicyFirst && r.Table <= policyroute.TablePolicyLast &&
		r.Dev != "" && !decide.IsOurs(r.Dev)
}

// answers reports whether something beyond an egress answers, as far as is known.
func answers(egresses []api.Egress, name string) bool {
	return slices.ContainsFunc(egresses,
		func(e api.Egress) bool { return e.Name == name && e.State == string(client.StateUp) })
}

// blockedByRules says that nothing leaves because no rule lets it.
func blockedByRules(rules []api.Policy) string {
	if slices.ContainsFunc(rules, func(p api.Policy) bool { return p.Off }) {
		return "No rule of the policy lets anything out at this time: nothing leaves, as " +
			"configured."
	}
	return "Every rule of the policy blocks: nothing leaves, as configured."
}

// worst returns the first problem that cuts clients off and is no consequence of another.
func worst(conditions []api.Condition) api.Condition {
	var present []health.Code
	for _, c := range conditions {
		present = append(present, c.Code)
	}
	for _, c := range conditions {
		if c.Severity == health.Error && health.Explains(c.Code, present) == "" {
			return c
		}
	}
	return api.Condition{}
}

// gatewayOf names the box's own router, of the first IP version that has one. On a line with two
// ends it has no address that matters.
func gatewayOf(host decide.HostState, families ...policyroute.Family) string {
	for _, f := range families {
		if r := host.Default(f); r.Gateway.IsValid() {
			return fmt.Sprintf("its router (%s)", r.Gateway)
		}
	}
	for _, f := range families {
		if r := host.Default(f); r.Iface != "" {
			return "the other end of " + r.Iface
		}
	}
	return "its router"
}

// sentence makes a message one.
func sentence(message string) string {
	first, size := utf8.DecodeRuneInString(message)
	return string(unicode.ToUpper(first)) + strings.TrimRight(message[size:], ".") + "."
}
