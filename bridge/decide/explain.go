package decide

import (
	"fmt"
	"net/netip"
	"strings"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/policyroute"
)

// somewhere stands for the Internet in explanations: an address that no policy is likely to name as
// a destination.
var somewhere = map[policyroute.Family]netip.Addr{
	policyroute.V4: netip.MustParseAddr("1.1.1.1"),
	policyroute.V6: netip.MustParseAddr("2606:4700:4700::1111"),
}

// Explainer holds the input of an explanation.
type Explainer struct {
	Intent  policyroute.Intent
	Host    HostState
	Clients map[netip.Addr]string // names of the endpoint's clients
	Why     map[string]string     // by name of rule: why the choice fell as it did
	Off     []config.Rule         // that are not in force now
}

// Explain returns where packets from an address go: to the Internet, and to the destinations that
// policies name.
func (p Explainer) Explain(addr netip.Addr) (api.Explanation, error) {
	addr = addr.Unmap()
	ingress := ownerOf(p.Intent, addr)
	if link, own := p.Host.Owner(addr); own {
		return api.Explanation{}, &api.HintedError{
			Err: api.NotFound(fmt.Sprintf("%s is this box's own address on %s", addr, link.Name)),
			Hint: "what this box sends itself follows its own routes; give the address of a " +
				"device",
		}
	}
	if ingress == nil {
		return api.Explanation{}, &api.HintedError{
			Err:  api.NotFound(fmt.Sprintf("%s is not in any network of this box", addr)),
			Hint: "`ztbridge status -v` lists the networks by which devices enter",
		}
	}
	e, err := policyroute.Explain(p.Intent, addr, somewhere[policyroute.FamilyOf(addr)],
		ingress.Name)
	if err != nil {
		return api.Explanation{}, err
	}
	apart, err := elsewhere(p.Intent, addr, ingress.Name)
	if err != nil {
		return api.Explanation{}, err
	}
	out := api.Explanation{
		Address: addr, Ingress: ingress.Name, Client: p.Clients[addr], Rule: e.Policy,
		Egress: e.Egress,
		Steps:  []string{fmt.Sprintf("enters by %s (%s)", ingress.Name, ingress.Iface)},
	}
	for _, r := range p.Off {
		out.Steps = append(out.Steps, fmt.Sprintf("%s is not in force now: it is for %s",
			api.RuleTitle(r.Name), strings.Join(r.Times(), ", ")))
	}
	if len(e.List) > 0 {
		out.Steps = append(out.Steps, fmt.Sprintf("%s applies: %s",
			api.RuleTitle(e.Policy), strings.Join(e.List, ", then ")))
	}
	reason := api.RuleTitle(e.Reason)
	if why := p.Why[e.Policy]; why != "" && len(e.List) > 0 {
		reason += " (" + why + ")"
	}
	out.Steps = append(out.Steps, reason)
	out.Steps = append(out.Steps, apart...)
	if e.Steer != "" {
		out.Steps = append(out.Steps, "its DNS queries go to "+e.Steer)
	}
	for _, r := range e.Rules {
		out.Steps = append(out.Steps, "ip rule: "+r)
	}
	return out, nil
}

// elsewhere explains packets of an address to destinations that policies name.
func elsewhere(intent policyroute.Intent, addr netip.Addr, ingress string) ([]string, error) {
	var out []string
	for _, policy := range intent.Policies {
		for _, to := range policy.To {
			if to.Addr().Is4() != addr.Is4() {
				continue
			}
			e, err := policyroute.Explain(intent, addr, to.Addr(), ingress)
			if err != nil {
				return nil, err
			}
			if e.Policy != policy.Name || e.Member != "" {
				continue
			}
			what := to.String()
			if to.IsSingleIP() {
				what = to.Addr().String()
			}
			out = append(out, fmt.Sprintf("to %s: %s", what, api.RuleTitle(e.Reason)))
		}
	}
	return out, nil
}

// IngressOf returns the name of the ingress behind which an address lives; empty if there is none.
func IngressOf(intent policyroute.Intent, addr netip.Addr) string {
	if g := ownerOf(intent, addr); g != nil {
		return g.Name
	}
	return ""
}
