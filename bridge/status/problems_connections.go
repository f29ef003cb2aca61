package status

import (
	"fmt"

	"ztbridge/bridge/decide"
	"ztbridge/bridge/health"
)

// connectionProblems tells of a table of connections that is full. What is connected already goes
// on, so nothing else would tell.
func connectionProblems(host decide.HostState) []health.Problem {
	n := host.ConntrackFull
	if n == 0 {
		return nil
	}
	return []health.Problem{{Code: health.ConntrackFull,
		Message: fmt.Sprintf("new connections get no answer: this box follows as many connections "+
			"as it may (%d)", n),
		Remedy: "let it follow more, and write the same into a file in /etc/sysctl.d (in a " +
			"container: on its host); if they are not your devices', see whose: conntrack -L",
		Command: fmt.Sprintf("sysctl -w net.netfilter.nf_conntrack_max=%d", 2*n)}}
}
