package bridge

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"

	"ztbridge/bridge/config"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// behindFile remembers what lies behind the ingresses, for a daemon that starts while it cannot be
// asked.
const behindFile = "behind.json"

// behind is what lies behind an ingress that is not ours, as far as the box has to find it out.
type behind struct {
	Prefixes []netip.Prefix   `json:"prefixes"`
	Routes   []zerotier.Route `json:"routes,omitempty"` // of a network
}

// findBehind returns what lies behind the ingresses that are not ours, by interface. While nobody
// can say, as when zerotier-one is stopped or a link has lost its addresses, what was last known
// holds: members that nobody knows for members would be looked for in the Internet.
func findBehind(cfg *config.Config, s Snapshot) map[string]behind {
	now, unsure, links := map[string]behind{}, map[string]bool{}, map[string]bool{}
	for _, n := range cfg.ZeroTier.Networks {
		st := network(cfg, s, n.Name)
		now[st.Iface] = behind{st.Prefixes, st.Routes}
		unsure[st.Iface] = st.State != zerotier.NetworkOK
	}
	for _, i := range cfg.Interfaces {
		link, _ := s.World.Link(i.Iface)
		now[i.Iface], unsure[i.Iface], links[i.Iface] = behind{Prefixes: subnets(link.Addrs)}, true,
			true
	}
	out := map[string]behind{}
	for iface, b := range now {
		if unsure[iface] {
			b = b.recall(s.Behind[iface], func(p netip.Prefix) bool {
				for _, other := range now {
					if other.covers(p) {
						return true
					}
				}
				return links[iface] && moved(cfg, s.World, iface, p)
			})
		}
		out[iface] = b
	}
	return out
}

// moved says that a subnet of an ingress's link is on another link by now, or in what is configured
// for another ingress.
func moved(cfg *config.Config, w World, from string, subnet netip.Prefix) bool {
	return slices.ContainsFunc(w.Links, func(l kernel.Link) bool {
		return l.Name != from && slices.Contains(subnets(l.Addrs), subnet)
	}) || slices.ContainsFunc(cfg.Interfaces, func(i config.Interface) bool {
		return i.Iface != from && behind{Prefixes: i.Prefixes}.covers(subnet)
	})
}

// recall adds what was last known of each family of which nothing is known now, but for what lies
// elsewhere by now.
func (b behind) recall(last behind, elsewhere func(netip.Prefix) bool) behind {
	out := b
	out.Prefixes = slices.Clone(b.Prefixes)
	for _, p := range last.Prefixes {
		if !slices.ContainsFunc(b.Prefixes,
			func(q netip.Prefix) bool { return sameFamily(p, q) }) && !elsewhere(p) {
			out.Prefixes = append(out.Prefixes, p)
		}
	}
	if len(b.Routes) == 0 {
		out.Routes = slices.DeleteFunc(slices.Clone(last.Routes),
			func(r zerotier.Route) bool { return elsewhere(r.Target) })
	}
	return out
}

func sameFamily(a, b netip.Prefix) bool {
	return policyroute.FamilyOf(a.Addr()) == policyroute.FamilyOf(b.Addr())
}

// covers says that all of a prefix lies there. A part does not count: the rest would belong to
// nobody.
func (b behind) covers(p netip.Prefix) bool {
	return slices.ContainsFunc(b.Prefixes, func(q netip.Prefix) bool { return covers(q, p) })
}

// rememberBehind records what lies behind the ingresses, whenever it is something else than before.
func (d *daemon) rememberBehind(known map[string]behind) {
	d.behind = known
	if reflect.DeepEqual(known, d.recorded) {
		return
	}
	if err := saveBehind(d.opts.StateDir, known); err != nil {
		d.opts.Logger.Warn("what lies behind the ingresses may be unknown after a restart", "error",
			err)
		return
	}
	d.recorded = known
}

func loadBehind(stateDir string) (map[string]behind, error) {
	b, err := os.ReadFile(filepath.Join(stateDir, behindFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var out map[string]behind
	if err == nil {
		err = json.Unmarshal(b, &out)
	}
	if err != nil {
		return nil, fmt.Errorf("reading what lies behind the ingresses: %w", err)
	}
	return out, nil
}

func saveBehind(stateDir string, known map[string]behind) error {
	b, err := json.Marshal(known)
	if err == nil {
		err = writeFile(filepath.Join(stateDir, behindFile), append(b, '\n'))
	}
	if err != nil {
		return fmt.Errorf("recording what lies behind the ingresses: %w", err)
	}
	return nil
}
