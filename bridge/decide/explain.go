package decide

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"ztbridge/bridge/api"
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
}

// Explain returns where packets from an address go: to the Internet, and to the destinations that
// policies name.
func (p Explainer) Explain(addr netip.Addr) (api.Explanation, error) {
	addr = addr.Unmap()
	ingress, ok := ingressOf(p.Intent, addr)
	if link, own := p.Host.Owner(addr); own {
		return api.Explanation{}, &api.HintedError{
			Err: fmt.Errorf("explaining %s: it is this box's own address on %s: %w", addr,
				link.Name, api.ErrNotFound),
			Hint: "what this box sends itself follows its main routing table; give the address " +
				"of a member or client",
		}
	}
	if !ok {
		return api.Explanation{}, &api.HintedError{
			Err:  fmt.Errorf("explaining %s: it is behind no ingress: %w", addr, api.ErrNotFound),
			Hint: "ztbridge status lists the ingresses and their addresses",
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
		Steps:  []string{fmt.Sprintf("it enters by %s (%s)", ingress.Name, ingress.Iface)},
	}
	if len(e.List) > 0 {
		out.Steps = append(out.Steps, fmt.Sprintf("%s holds; its egresses, in order: %s", e.Policy,
			strings.Join(e.List, ", ")))
	}
	out.Steps = append(out.Steps, e.Reason)
	if why := p.Why[e.Policy]; why != "" && len(e.List) > 0 {
		out.Steps = append(out.Steps, "the choice fell so because: "+why)
	}
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
				out = append(out, fmt.Sprintf("to %s otherwise: %s",
					strings.TrimSuffix(to.String(),
						hostBits[policyroute.FamilyOf(addr)]), e.Reason))
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
