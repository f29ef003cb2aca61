package decide

import (
	"fmt"
	"net/netip"
	"slices"

	"ztbridge/bridge/config"
	"ztbridge/bridge/probe"
	"ztbridge/policyroute"
)

// PathDevice is the TUN device by which the box's own clients enter. The dot keeps it apart from
// every TunnelDevice.
const PathDevice = policyroute.TunPrefix + ".check"

// pathIngress is its name in intents, which no configuration can use.
const pathIngress = "path check"

// The addresses of the box's own clients. IANA assigned 192.0.0.0/24 to protocols that a router
// uses by itself, and this part of it to none (RFC 6890). The IPv6 prefix is a unique local one
// (RFC 4193), drawn at random.
var pathPrefixes = map[policyroute.Family]netip.Prefix{
	policyroute.V4: netip.MustParsePrefix("192.0.0.128/25"),
	policyroute.V6: netip.MustParsePrefix("fdb4:6a1e:72c5::/64"),
}

// maxPathLists limits the lists that have clients of their own to the number of tables.
const maxPathLists = policyroute.TablePolicyLast - policyroute.TablePolicyFirst + 1

// PathClient is a client of the box's own that tests the path of one list's clients.
type PathClient struct {
	Key     string // names it: its list and its IP version
	List    EgressList
	Family  policyroute.Family
	Addr    netip.Addr
	Egress  string // that carries its traffic now; empty: none, so that there is nothing to check
	Steered bool   // whether its DNS queries are steered to a resolver
	Plan    string // changes with everything of ours that its packets meet
}

// pathClients returns one path client for each list of egresses that carries Internet traffic and
// each IP version. Its clients must have that version, and the egress in use must carry it.
func pathClients(cfg *config.Config, s Snapshot, d Decision) []PathClient {
	if len(d.Intent.Ingresses) == 0 || s.Stopping {
		return nil
	}
	var out []PathClient
	seen := map[EgressList]bool{}
	for _, list := range generalLists(cfg, s) {
		key := NewEgressList(list)
		if seen[key] || len(seen) >= maxPathLists {
			continue
		}
		seen[key] = true
		for _, f := range policyroute.Families {
			if !hasClients(d.Intent.Ingresses, f) {
				continue
			}
			c := PathClient{Key: key.String() + " " + f.String(), List: key,
				Family: f, Addr: pathAddr(f, len(seen)), Egress: d.Choices[key].Of(f)}
			for _, e := range d.Intent.Egresses {
				switch {
				case e.Name != c.Egress:
				case f == policyroute.V4 && e.NoIPv4 || f == policyroute.V6 && !e.IPv6:
					c.Egress = "" // refused, as it must be
				default:
					c.Steered = steers(e, f)
					c.Plan = fmt.Sprint(e.Name, e.Iface, e.Present, e.Addrs, e.DNS,
						e.Gateway4, e.Gateway6, e.ResolverPort, answersProbes(s.Probes[e.Name]),
						resolves(e, s.DeadResolvers))
				}
			}
			out = append(out, c)
		}
	}
	return out
}

// generalLists returns the lists of egresses that lead to the Internet at large, and are in use.
func generalLists(cfg *config.Config, s Snapshot) [][]string {
	var out [][]string
	for _, r := range cfg.Policy {
		if len(r.To) == 0 && r.Holds(s.Now) {
			out = append(out, listsOf(r, s)...)
		}
	}
	return slices.DeleteFunc(out, func(list []string) bool { return len(list) == 0 })
}

// answersProbes returns the IP versions by which an egress answers: when they change, clients'
// paths are tested at once.
func answersProbes(p probe.Status) [3]bool {
	return [3]bool{p.Grade >= probe.Fresh, p.Of[probe.V4] >= probe.Fresh,
		p.Of[probe.V6] >= probe.Fresh}
}

// hasClients reports whether clients of an IP version can be behind an ingress. If nothing is known
// yet, IPv4 clients can.
func hasClients(ingresses []policyroute.Ingress, f policyroute.Family) bool {
	known := false
	for _, g := range ingresses {
		for _, p := range g.Prefixes {
			known = true
			if policyroute.FamilyOf(p.Addr()) == f {
				return true
			}
		}
	}
	return !known && f == policyroute.V4
}

// steers reports whether DNS queries of clients are steered to a resolver of the egress.
func steers(e policyroute.Egress, f policyroute.Family) bool {
	return e.ResolverPort != 0 || slices.ContainsFunc(e.DNS,
		func(a netip.Addr) bool { return policyroute.FamilyOf(a) == f })
}

// pathAddr returns the n-th address of the range; the first is the box's own.
func pathAddr(f policyroute.Family, n int) netip.Addr {
	a := pathPrefixes[f].Addr().AsSlice()
	a[len(a)-1] += byte(1 + n)
	out, _ := netip.AddrFromSlice(a)
	return out
}

// addPathClients adds the clients to an intent: an ingress like any other, which only its own
// policies name.
func addPathClients(s Snapshot, d *Decision) {
	if len(d.PathClients) == 0 {
		return
	}
	in := policyroute.Ingress{Name: pathIngress, Iface: PathDevice, Owned: true,
		Present: s.Host.Exists(PathDevice), MTU: listenerMTU}
	for _, f := range policyroute.Families {
		in.Prefixes = append(in.Prefixes, pathPrefixes[f])
		in.Addrs = append(in.Addrs, netip.PrefixFrom(pathAddr(f, 0), pathPrefixes[f].Bits()))
	}
	d.Intent.Ingresses = append(d.Intent.Ingresses, in)
	var own []policyroute.Policy
	for _, c := range d.PathClients {
		own = append(own, policyroute.Policy{
			Name: "path check of " + c.Key, Ingress: []string{pathIngress},
			From:   []netip.Prefix{netip.PrefixFrom(c.Addr, c.Addr.BitLen())},
			Egress: c.List.Names(), Use: d.Choices[c.List].Egress,
			Use6: d.Choices[c.List].Egress6,
		})
	}
	d.Intent.Policies = append(own, d.Intent.Policies...)
}
