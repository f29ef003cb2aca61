package status

import (
	"net/netip"
	"slices"
	"strings"
	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/health"
	"ztbridge/policyroute"
)

func prefixWords(prefixes []netip.Prefix) string {
	var words []string
	for _, p := range prefixes {
		words = append(words, p.String())
	}
	return strings.Join(words, ", ")
}

func carries6(intent policyroute.Intent, egress string) bool {
	for _, e := range intent.Egresses {
		if e.Name == egress {
			return e.IPv6
		}
	}
	return false
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

// overall sums the status up in one word and one sentence. held says that the last pass was carried
// out, be it that some of what it should have opened stayed closed.
func overall(st api.Status, held bool) (api.State, string) {
	moving, refused, second := 0, 0, 0
	for _, p := range st.Policies {
		switch {
		case len(p.Wanted) == 0:
		case p.Egress == "":
			refused++
		case p.Egress != p.Wanted[0] && p.Egress != st.Override:
			second++
			moving++
		default:
			moving++
		}
	}
	troubled := slices.ContainsFunc(st.Conditions,
		func(c api.Condition) bool { return c.Severity != health.Info })
	switch {
	case !held:
		return api.Degraded,
			"the kernel does not hold what is decided: what was in force before stays"
	case moving == 0 && refused == 0:
		return api.Working, "every policy blocks: nothing leaves, as configured"
	case moving == 0:
		return api.Closed, "no egress is up: clients' packets are refused, none leaks"
	case refused > 0:
		return api.Degraded, "some clients have no egress that is up and are refused"
	case second > 0:
		return api.Degraded, "traffic flows, some of it by a second choice"
	case troubled:
		return api.Degraded, "traffic flows, but something needs attention"
	}
	return api.Working, "traffic leaves as configured"
}
