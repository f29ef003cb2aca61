package doctor

import (
	"cmp"
	"net"
	"slices"
	"strings"
)

const ownNames = "names"

// nameChecks are those of resolvers on the box itself. Queries to other resolvers are steered to
// the egress's own; what asks this box is answered here, and the question goes on by the box's own
// line. Where all egresses are that line, there is nothing to tell.
func nameChecks(h Host, d Daemon) []check {
	var open []string
	for _, r := range h.Resolvers {
		if !reachable(r, d.Ingresses) {
			continue
		}
		name := cmp.Or(r.Program, "a program")
		open = append(open, name+" on "+net.JoinHostPort(r.Addr.String(), "53"))
	}
	elsewhere := slices.ContainsFunc(d.Egresses, func(e Egress) bool { return e.Kind != "wan" })
	if len(open) == 0 || len(d.Ingresses) == 0 || !elsewhere {
		return nil
	}
	return []check{{ownNames, nil, func(Facts) Result {
		return warning(strings.Join(open, ", ")+
			" may answer devices that ask this box for names: those queries leave by the WAN",
			"give devices another DNS server than this box; or let that program listen on "+
				"loopback alone (dnsmasq, Pi-hole: listen-address=127.0.0.1 and "+
				"bind-interfaces)")
	}}}
}

// reachable reports whether clients can ask a resolver: packets to any address of the box are let
// in, whichever interface has it.
func reachable(r Resolver, ingresses []string) bool {
	if r.Device != "" {
		return slices.Contains(ingresses, r.Device)
	}
	return !r.Addr.IsLoopback() && !r.Addr.IsLinkLocalUnicast()
}
