package lab

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strings"
	"sync"

	"ztbridge/policyroute/netlab"
)

// Lab owns what a topology is made of and takes it down in reverse order.
type Lab struct {
	Dir  string // for files of this lab; removed by Close
	Zone *Zone  // the names that the lab's DNS servers know

	mu      sync.Mutex
	hosts   []*netlab.Namespace
	closers []func() error
	sites   int
}

// NewLab sweeps what crashed labs left and returns an empty lab. The caller must Close it.
func NewLab() (*Lab, error) {
	if err := netlab.Sweep(); err != nil {
		return nil, err
	}
	dir, err := netlab.TempDir("lab")
	if err != nil {
		return nil, err
	}
	l := &Lab{Dir: dir, Zone: NewZone()}
	l.Defer(func() error { return os.RemoveAll(dir) })
	return l, nil
}

// Host adds an empty host to the lab.
func (l *Lab) Host(label string) (*netlab.Namespace, error) {
	ns, err := netlab.NewNamespace(label)
	if err != nil {
		return nil, err
	}
	l.Defer(ns.Close)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hosts = append(l.hosts, ns)
	return ns, nil
}

// present returns the hosts that the lab has now.
func (l *Lab) present() []*netlab.Namespace {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]*netlab.Namespace(nil), l.hosts...)
}

// Defer has Close call fn, before everything that was deferred earlier.
func (l *Lab) Defer(fn func() error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.closers = append(l.closers, fn)
}

// Close kills every process of the lab and deletes everything. It is safe to call it twice.
func (l *Lab) Close() error {
	l.mu.Lock()
	closers := l.closers
	l.closers = nil
	l.mu.Unlock()
	var errs []error
	for i := len(closers) - 1; i >= 0; i-- {
		errs = append(errs, closers[i]())
	}
	return errors.Join(errs...)
}

// Logs returns the last lines that each process of the lab wrote, for failure messages.
func (l *Lab) Logs(lines int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var b strings.Builder
	for _, host := range l.hosts {
		for _, p := range host.Processes() {
			text := strings.Split(strings.TrimRight(p.Log(), "\n"), "\n")
			text = text[max(0, len(text)-lines):]
			fmt.Fprintf(&b, "---- %s (%s)\n%s\n", p.Name, p.Outcome(), strings.Join(text, "\n"))
		}
	}
	return b.String()
}

// SetCongestionControl sets the algorithm for connections that the lab's present hosts make or
// accept from now on (tcp(7)). Namespaces may only use those that the machine's
// net.ipv4.tcp_allowed_congestion_control names.
func (l *Lab) SetCongestionControl(name string) error {
	for _, host := range l.present() {
		if err := host.Sysctl("net/ipv4/tcp_congestion_control=" + name); err != nil {
			return err
		}
	}
	return nil
}

// Site is a host with an uplink of its own to the lab's Internet, in networks of its own.
type Site struct {
	NS     *netlab.Namespace
	Addr4  netip.Addr
	Addr6  netip.Addr
	Router string       // the router's end of the uplink, where faults are put
	Uplink *netlab.Link // the host's end is eth0
}

// AddSite adds a host with an uplink of its own: a second box, a server, a client on the road. It
// is connected to the router by 198.18.n.0/24 and 2001:db8:12:n::/64.
func (t *Topology) AddSite(label string) (*Site, error) {
	t.mu.Lock()
	t.sites++
	n := t.sites
	t.mu.Unlock()
	ns, err := t.Host(label)
	if err != nil {
		return nil, err
	}
	net4 := netip.MustParsePrefix(fmt.Sprintf("198.18.%d.0/24", n))
	net6 := netip.MustParsePrefix(fmt.Sprintf("2001:db8:12:%x::/64", n))
	s := &Site{NS: ns, Addr4: host(net4, 2), Addr6: host(net6, 2), Router: routerPort(label)}
	s.Uplink, err = netlab.Connect(
		ns, netlab.Iface{Name: "eth0", Addrs: inSubnet(net4, net6, 2),
			Routes: netlab.DefaultVia(host(net4, 1), host(net6, 1))},
		t.Router, netlab.Iface{Name: s.Router, Addrs: inSubnet(net4, net6, 1)})
	if err != nil {
		return nil, err
	}
	return s, ns.SetResolvers(ResolverAddr.String())
}

// routerPort names the router's interface towards a host.
func routerPort(label string) string { return fmt.Sprintf("r-%.13s", label) }

// host returns the n-th address of a network.
func host(p netip.Prefix, n byte) netip.Addr {
	b := p.Masked().Addr().AsSlice()
	b[len(b)-1] += n
	a, _ := netip.AddrFromSlice(b)
	return a
}

// inSubnet returns the n-th address of both networks, with the networks' lengths.
func inSubnet(net4, net6 netip.Prefix, n byte) []netip.Prefix {
	return []netip.Prefix{
		netip.PrefixFrom(host(net4, n), net4.Bits()),
		netip.PrefixFrom(host(net6, n), net6.Bits()),
	}
}
