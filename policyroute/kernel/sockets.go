package kernel

import (
	"bufio"
	"cmp"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"ztbridge/policyroute"
)

// settled is how long a UDP socket exists before it counts as a service: programs that only ask
// open one for each question.
const settled = 3 * time.Second

// States of sockets in /proc/net (include/net/tcp_states.h). A UDP socket that is not connected is
// said to be closed.
const tcpListens, udpUnconnected = "0A", "07"

// services returns the ports at which programs of the host are asked, sorted.
func (k *Kernel) services(now time.Time) []policyroute.Listener {
	seen := map[policyroute.Listener]time.Time{}
	var out []policyroute.Listener
	for _, p := range openPorts() {
		since, known := k.ports[p]
		if !known && k.ports != nil { // at the first look, all have been there for long
			since = now
		}
		seen[p] = since
		if p.Proto == "tcp" || now.Sub(since) >= settled {
			out = append(out, p)
		}
	}
	k.ports = seen
	return out
}

// openPorts returns the ports on which sockets of this network namespace take what strangers send,
// sorted. A kind of socket that cannot be listed has none.
func openPorts() []policyroute.Listener {
	var out []policyroute.Listener
	for _, table := range []string{"tcp", "tcp6", "udp", "udp6"} {
		f, err := os.Open("/proc/thread-self/net/" + table)
		if err != nil {
			continue
		}
		lines := bufio.NewScanner(f)
		lines.Scan() // names of columns
		for lines.Scan() {
			p := policyroute.Listener{Proto: strings.TrimSuffix(table, "6")}
			fields := strings.Fields(lines.Text())
			if len(fields) < 4 {
				break
			}
			if state := fields[3]; p.Proto == "tcp" && state != tcpListens {
				break // those that listen come first
			} else if p.Proto == "udp" && state != udpUnconnected {
				continue
			}
			var local bool
			if p.Port, local = localPort(fields[1]); !local && p.Port != 0 {
				out = append(out, p)
			}
		}
		f.Close()
	}
	slices.SortFunc(out, func(a, b policyroute.Listener) int {
		return cmp.Or(strings.Compare(a.Proto, b.Proto), cmp.Compare(a.Port, b.Port))
	})
	return slices.Compact(out)
}

// localPort returns the port of an address as /proc/net has it, such as 0100007F:0035, and whether
// it is reached from this host alone. It returns 0 for anything else.
func localPort(text string) (port uint16, local bool) {
	at, hexPort, _ := strings.Cut(text, ":")
	n, err := strconv.ParseUint(hexPort, 16, 16)
	if err != nil {
		return 0, false
	}
	// The bytes of each 32-bit word are in the order of a little-endian processor, as all are that
	// ztbridge is built for.
	return uint16(n), len(at) == 8 && strings.HasSuffix(at, "7F") ||
		at == "00000000000000000000000001000000"
}
