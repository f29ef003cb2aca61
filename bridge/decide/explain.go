package decide

import (
	"fmt"
	"net/netip"
	"slices"
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
	ingress, ok := ingressOf(p.Intent, addr)
	if link, own := p.Host.Owner(addr); own {
		return api.Explanation{}, &api.HintedError{
			Err: api.NotFound(fmt.Sprintf("%s is this box's own address on %s", addr, link.Name)),
			Hint: "what this box sends itself follows its own routes; give the address of a " +
				"device",
		}
	}
	if !ok {
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

// hostBits is the suffix of a prefix that is a single address.
var hostBits = map[policyroute.Family]string{policyroute.V4: "/32", policyroute.V6: "/128"}

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
			if e.Policy == policy.Name && e.Member == "" {
				out = append(out, fmt.Sprintf("to %s: %s",
					strings.TrimSuffix(to.String(), hostBits[policyroute.FamilyOf(addr)]),
					api.RuleTitle(e.Reason)))
			}
		}
	}
	return out, nil
}

// IngressOf returns the name of the ingress behind which an address lives; empty if there is none.
func IngressOf(intent policyroute.Intent, addr netip.Addr) string {
	g, _ := ingressOf(intent, addr)
	return g.Name
}

// ingressOf returns the ingress behind which an address is.
func ingressOf(intent policyroute.Intent, addr netip.Addr) (policyroute.Ingress, bool) {
	for _, in := range intent.Ingresses {
		if slices.ContainsFunc(in.Prefixes, func(p netip.Prefix) bool { return p.Contains(addr) }) {
			return in, true
		}
	}
	return policyroute.Ingress{}, false
}
