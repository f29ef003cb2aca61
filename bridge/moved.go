package bridge

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// inForce is what the last pass that succeeded made the kernel hold.
type inForce struct {
	loaded *loaded
	intent policyroute.Intent
}

// settle notes what is in force now. After a reload it cuts the connections of the clients whose rules are others than
// before: the kernel itself ends those that were masqueraded, and none else.
func (d *daemon) settle(ctx context.Context, intent policyroute.Intent) {
	before := d.inForce
	d.inForce = inForce{d.loaded, intent}
	if before.loaded == nil || before.loaded == d.loaded {
		return
	}
	clients := moved(before.intent, intent)
	n, err := d.kernel.CutFlows(ctx, kernel.Flows{Sources: clients})
	if err != nil {
		d.opts.Logger.Warn("cutting flows failed", "clients", clients, "error", err)
		return
	}
	if n > 0 {
		d.opts.Logger.Info("flows cut", "clients", clients, "count", n)
	}
}

// moved returns whom a change of policy may send another way: the clients of each rule that one of the two has and the
// other has not, and of all rules where those that both have changed places.
func moved(old, now policyroute.Intent) []netip.Prefix {
	was, is := ruleKeys(old), ruleKeys(now)
	common := func(keys, others []string) []string {
		return slices.DeleteFunc(slices.Clone(keys), func(k string) bool { return !slices.Contains(others, k) })
	}
	reordered := !slices.Equal(common(was, is), common(is, was))
	var out []netip.Prefix
	add := func(in policyroute.Intent, keys, others []string) {
		for i, p := range in.Policies {
			if reordered || !slices.Contains(others, keys[i]) {
				out = append(out, clientsOf(in, p)...)
			}
		}
	}
	add(old, was, is)
	add(now, is, was)
	slices.SortFunc(out, netip.Prefix.Compare)
	return slices.Compact(out)
}

// ruleKeys say of each rule whom it sends where, and as whom.
func ruleKeys(in policyroute.Intent) []string {
	egresses := map[string]policyroute.Egress{}
	for _, e := range in.Egresses {
		egresses[e.Name] = e
	}
	var out []string
	for _, p := range in.Policies {
		key := fmt.Sprint(clientsOf(in, p), p.To)
		for _, name := range p.Egress {
			e := egresses[name]
			key += fmt.Sprint(" ", name, e.Iface, e.NAT4, e.NAT6)
		}
		out = append(out, key)
	}
	return out
}

// clientsOf returns the prefixes that a rule speaks of.
func clientsOf(in policyroute.Intent, p policyroute.Policy) []netip.Prefix {
	if len(p.From) > 0 {
		return p.From
	}
	var out []netip.Prefix
	for _, g := range in.Ingresses {
		if len(p.Ingress) == 0 || slices.Contains(p.Ingress, g.Name) {
			out = append(out, g.Prefixes...)
		}
	}
	return out
}
