package kernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

const dnsPort = 53

// Flows selects connections in conntrack's table: those that match any of its fields.
type Flows struct {
	// Sources are the clients that opened the connection, or that it was opened to.
	Sources []netip.Prefix
	// Translated are the outside addresses of masqueraded connections: those of an egress.
	Translated []netip.Addr
	// Redirected are ports of this host to which connections are redirected: those of a forwarder.
	Redirected []uint16
	// Resolvers are those that connections to port 53 lead to, asked for or steered there.
	Resolvers []netip.Addr
	// Untranslated are clients whose connections show their own addresses outside. They began while
	// no filter translated them, and stay so until they end.
	Untranslated []netip.Prefix
	// Ports are those to which the connections of Clients were translated.
	Ports   []Port
	Clients []netip.Prefix
	// Moved, unless it is nil, reports whether packets of client to remote may now leave by another
	// egress. It is asked about both ends of each connection, whoever opened it; steered means that
	// its destination was rewritten.
	Moved func(client, remote netip.Addr, steered bool) bool
}

// CutFlows deletes connections from conntrack's table, so that their next packets are routed and
// translated again. It returns how many there were. It sends nothing to the peers.
func (k *Kernel) CutFlows(ctx context.Context, f Flows) (int, error) {
	if len(f.Sources) == 0 && len(f.Translated) == 0 && len(f.Redirected) == 0 &&
		len(f.Untranslated) == 0 && len(f.Resolvers) == 0 && len(f.Ports) == 0 && f.Moved == nil {
		return 0, nil
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	total := 0
	for _, family := range policyroute.Families {
		if err := ctx.Err(); err != nil {
			return total, err
		}
		cut, err := k.rtnl.ConntrackDeleteFilters(netlink.ConntrackTable,
			netlink.InetFamily(afOf(family)), f)
		total += int(cut)
		// An interrupted listing is accepted: connections come and go all the time, and those
		// missed are as new as those beginning now.
		if err != nil && !errors.Is(err, netlink.ErrDumpInterrupted) {
			return total, fmt.Errorf("cutting %s flows: %w", family, err)
		}
	}
	return total, nil
}

// MatchConntrackFlow implements netlink.CustomConntrackFilter.
func (f Flows) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool {
	source, target := toAddr(flow.Forward.SrcIP), toAddr(flow.Forward.DstIP)
	answerer, translated := toAddr(flow.Reverse.SrcIP), toAddr(flow.Reverse.DstIP)
	redirected := flow.Reverse.SrcPort != flow.Forward.DstPort
	return inAny(source, f.Sources) || inAny(answerer, f.Sources) ||
		slices.Contains(f.Translated, translated) ||
		source == translated && answerer == target && inAny(source, f.Untranslated) &&
			!inAny(target, f.Untranslated) ||
		source != translated && inAny(source, f.Clients) && slices.Contains(f.Ports,
			Port{protocols[flow.Forward.Protocol], flow.Reverse.DstPort}) ||
		redirected && slices.Contains(f.Redirected, flow.Reverse.SrcPort) ||
		flow.Forward.DstPort == dnsPort && slices.Contains(f.Resolvers, answerer) ||
		f.Moved != nil && (f.Moved(source, target, redirected || answerer != target) ||
			f.Moved(answerer, translated, false))
}

// protocols are the names of those that have ports.
var protocols = map[uint8]string{unix.IPPROTO_TCP: "tcp", unix.IPPROTO_UDP: "udp"}

func inAny(a netip.Addr, of []netip.Prefix) bool {
	return slices.ContainsFunc(of, func(p netip.Prefix) bool { return p.Contains(a) })
}

func toAddr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
