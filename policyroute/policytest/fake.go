package policytest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"ztbridge/policyroute"
)

// ErrFault is returned by a Fake that was told to fail. ErrNoDevice is returned for a route by a
// device that does not exist or is down.
var (
	ErrFault    = errors.New("injected fault")
	ErrNoDevice = errors.New("no such device, or it is down")
)

// Fake is a kernel in memory, as far as plans concern it. It keeps the semantics that plans must
// cope with: routes vanish with their device, with its going down and with its last IPv4 address;
// rules and filters stay; parameters of an interface live and die with it. It is for one goroutine.
type Fake struct {
	links   map[string]*policyroute.Link
	rules   []policyroute.Rule
	routes  []policyroute.Route
	nft     policyroute.Ruleset
	chains  []policyroute.Chain // without Parent
	parents map[parent][]string // rules of the built-in chains
	values  map[string]string   // parameters that were written, by anybody
	records map[string]string   // what they were before we first wrote
	foreign []string
	fault   int // operations until the next fault; negative: never
}

type parent struct {
	family policyroute.Family
	name   string
}

// NewFake returns a kernel with these devices; ours are down, as their driver leaves them, others
// up.
func NewFake(devices ...string) *Fake {
	f := &Fake{links: map[string]*policyroute.Link{}, parents: map[parent][]string{},
		values: map[string]string{}, records: map[string]string{}, fault: -1}
	for _, d := range devices {
		f.addDevice(d)
	}
	return f
}

func (f *Fake) addDevice(name string) {
	f.links[name] = &policyroute.Link{Name: name,
		Up: !strings.HasPrefix(name, policyroute.TunPrefix), MTU: 1500}
}

// FailAfter makes the n-th operation from now fail, and every one after it, until it is called
// again. A negative n heals.
func (f *Fake) FailAfter(n int) { f.fault = n }

// AddDevice makes a device, as NewFake does.
func (f *Fake) AddDevice(_ testing.TB, name string) { f.addDevice(name) }

// RemoveDevice removes a device with all that lives on it.
func (f *Fake) RemoveDevice(_ testing.TB, name string) {
	delete(f.links, name)
	f.routes = slices.DeleteFunc(f.routes, func(r policyroute.Route) bool { return r.Dev == name })
	for k := range f.values {
		if device(k) == name {
			delete(f.values, k)
		}
	}
}

// PlantForeign adds what other programs leave in a kernel.
func (f *Fake) PlantForeign(testing.TB) {
	f.foreign = append(f.foreign, "rule 15050 protocol 3 iif docker0 lookup main",
		"route 0.0.0.0/1 dev tun9 table main",
		"table inet docker", "chain DOCKER-USER")
	for _, fam := range policyroute.Families {
		p := parent{fam, "FORWARD"}
		f.parents[p] = append([]string{"-j DOCKER-USER"}, f.parents[p]...)
	}
}

// Foreign prints everything that is not ours.
func (f *Fake) Foreign(testing.TB) string {
	lines := slices.Clone(f.foreign)
	for p, rules := range f.parents {
		for _, r := range rules {
			if !strings.HasPrefix(r, "-j ZTB-") {
				lines = append(lines, fmt.Sprintf("%s %s %s", p.family, p.name, r))
			}
		}
	}
	for k, v := range f.values {
		if _, ours := f.records[k]; !ours && v != "0" {
			lines = append(lines, k+"="+v)
		}
	}
	slices.Sort(lines)
	return strings.Join(lines, "\n")
}

// Observe returns what of ours is there.
func (f *Fake) Observe() (policyroute.State, error) {
	s := policyroute.State{Rules: slices.Clone(f.rules), Routes: slices.Clone(f.routes), Nft: f.nft}
	for name, l := range f.links {
		if strings.HasPrefix(name, policyroute.TunPrefix) {
			link := *l
			link.Addrs = slices.Clone(l.Addrs)
			s.Links = append(s.Links, link)
		}
	}
	for k := range f.records {
		if f.exists(k) {
			s.Sysctls = append(s.Sysctls, policyroute.Sysctl{Key: k, Value: f.value(k)})
		}
	}
	for _, c := range f.chains {
		built := f.builtIn(c.Family, c.Name)
		jump := "-j " + c.Name
		if rules := f.parents[built]; len(rules) > 0 && rules[0] == jump &&
			!slices.Contains(rules[1:], jump) {
			c.Parent = built.name
		}
		s.IPTables = append(s.IPTables, c)
	}
	s.Normalize()
	return s, nil
}

func (f *Fake) builtIn(family policyroute.Family, chain string) parent {
	if chain == policyroute.ChainInput {
		return parent{family, "INPUT"}
	}
	return parent{family, "FORWARD"}
}

// device is the interface that a parameter belongs to, or "all".
func device(key string) string { return strings.Split(key, "/")[3] }

func (f *Fake) exists(key string) bool {
	return device(key) == "all" || f.links[device(key)] != nil
}

func (f *Fake) value(key string) string { return cmp.Or(f.values[key], "0") }

// Apply carries out a plan, operation by operation, up to the first failure.
func (f *Fake) Apply(ctx context.Context, p policyroute.Plan) error {
	for _, op := range p.Ops {
		if err := ctx.Err(); err != nil {
			return err
		}
		if f.fault == 0 {
			return fmt.Errorf("applying %q: %w", op, ErrFault)
		}
		f.fault--
		if err := f.apply(op); err != nil {
			return fmt.Errorf("applying %q: %w", op, err)
		}
	}
	return nil
}

func (f *Fake) apply(op policyroute.Op) error {
	switch o := op.(type) {
	case policyroute.SetLink, policyroute.AddAddr, policyroute.DelAddr:
		f.applyLink(op)
	case policyroute.AddRule:
		if !slices.Contains(f.rules, o.Rule) {
			f.rules = append(f.rules, o.Rule)
		}
	case policyroute.DelRule:
		f.rules = slices.DeleteFunc(f.rules, func(r policyroute.Rule) bool { return r == o.Rule })
	case policyroute.ReplaceRoute:
		return f.replaceRoute(o.Route)
	case policyroute.DelRoute:
		f.routes = slices.DeleteFunc(f.routes,
			func(r policyroute.Route) bool {
				return sameRoute(r, o.Route) && r.Type == o.Route.Type
			})
	case policyroute.SetSysctl:
		f.setSysctl(o.Sysctl)
	case policyroute.RestoreSysctl:
		if was, ok := f.records[o.Key]; ok && f.exists(o.Key) {
			f.values[o.Key] = was
		}
		delete(f.records, o.Key)
	case policyroute.ReplaceNft:
		f.nft = o.Ruleset
	case policyroute.ChangeNftMaps:
		f.changeMaps(o)
	default:
		return f.applyChain(op)
	}
	return nil
}

func (f *Fake) applyLink(op policyroute.Op) {
	switch o := op.(type) {
	case policyroute.SetLink:
		if l := f.links[o.Name]; l != nil {
			l.MTU, l.Up = cmp.Or(o.MTU, l.MTU), l.Up || o.Up
		}
	case policyroute.AddAddr:
		if l := f.links[o.Dev]; l != nil && !slices.Contains(l.Addrs, o.Addr) {
			l.Addrs = append(l.Addrs, o.Addr)
		}
	case policyroute.DelAddr:
		if l := f.links[o.Dev]; l != nil {
			f.delAddr(l, o.Addr)
		}
	}
}

// delAddr takes the secondary addresses of the subnet along, and the routes with the last address.
func (f *Fake) delAddr(l *policyroute.Link, gone netip.Prefix) {
	at := slices.Index(l.Addrs, gone)
	if at < 0 {
		return
	}
	primary := !slices.ContainsFunc(l.Addrs[:at],
		func(a netip.Prefix) bool { return a.Masked() == gone.Masked() })
	l.Addrs = slices.DeleteFunc(slices.Clone(l.Addrs), func(a netip.Prefix) bool {
		return a == gone || primary && a.Addr().Is4() && a.Masked() == gone.Masked()
	})
	if gone.Addr().Is4() && !slices.ContainsFunc(l.Addrs,
		func(a netip.Prefix) bool { return a.Addr().Is4() }) {
		f.routes = slices.DeleteFunc(f.routes, func(r policyroute.Route) bool {
			return r.Dev == l.Name && r.Family == policyroute.V4
		})
	}
}

func sameRoute(a, b policyroute.Route) bool {
	return a.Family == b.Family && a.Table == b.Table && a.Dst == b.Dst && a.Metric == b.Metric
}

func (f *Fake) replaceRoute(r policyroute.Route) error {
	if r.Type == policyroute.Unicast && (f.links[r.Dev] == nil || !f.links[r.Dev].Up) {
		return fmt.Errorf("%w: %s", ErrNoDevice, r.Dev)
	}
	f.routes = slices.DeleteFunc(f.routes,
		func(h policyroute.Route) bool { return sameRoute(h, r) })
	f.routes = append(f.routes, r)
	return nil
}

func (f *Fake) setSysctl(s policyroute.Sysctl) {
	if !f.exists(s.Key) {
		return
	}
	if _, ok := f.records[s.Key]; !ok {
		f.records[s.Key] = f.value(s.Key)
	}
	f.values[s.Key] = s.Value
}

func (f *Fake) applyChain(op policyroute.Op) error {
	same := func(family policyroute.Family, name string) func(policyroute.Chain) bool {
		return func(c policyroute.Chain) bool { return c.Family == family && c.Name == name }
	}
	unjump := func(p parent, chain string) {
		f.parents[p] = slices.DeleteFunc(slices.Clone(f.parents[p]),
			func(r string) bool { return r == "-j "+chain })
	}
	switch o := op.(type) {
	case policyroute.SetChain:
		c := o.Chain
		c.Parent = ""
		f.chains = append(slices.DeleteFunc(f.chains, same(c.Family, c.Name)), c)
	case policyroute.EnsureJump:
		if !slices.ContainsFunc(f.chains, same(o.Family, o.Chain)) {
			return fmt.Errorf("no chain %s", o.Chain)
		}
		p := parent{o.Family, o.Parent}
		unjump(p, o.Chain)
		f.parents[p] = append([]string{"-j " + o.Chain}, f.parents[p]...)
	case policyroute.DeleteChain:
		unjump(parent{o.Family, o.Parent}, o.Chain)
		f.chains = slices.DeleteFunc(f.chains, same(o.Family, o.Chain))
	default:
		return fmt.Errorf("unknown operation %T", op)
	}
	return nil
}
