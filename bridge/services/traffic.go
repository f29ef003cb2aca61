package services

import (
	"bytes"
	"os"
	"strconv"

	"ztbridge/bridge/api"
	"ztbridge/bridge/probe"
)

// readTraffic returns what has passed each interface; nothing if it cannot be read.
func readTraffic() map[string]api.Counters {
	out := map[string]api.Counters{}
	text, err := os.ReadFile("/proc/self/net/dev")
	if err != nil {
		return out
	}
	for name, fields := range interfaces(text) {
		out[name] = traffic(fields)
	}
	return out
}

// trafficOf returns what has passed one interface, nothing if there is none of that name. It reads
// what the kernel prints, since it is asked several times a second and wants four numbers.
func trafficOf(iface string) probe.Traffic {
	text, err := os.ReadFile("/proc/self/net/dev")
	if err != nil {
		return probe.Traffic{}
	}
	for name, fields := range interfaces(text) {
		if name == iface {
			t := traffic(fields)
			return probe.Traffic{Received: t.PacketsIn, Sent: t.PacketsOut,
				Bytes: t.BytesIn + t.BytesOut}
		}
	}
	return probe.Traffic{}
}

// columns is how many numbers follow a name.
const columns = 16

// interfaces yields the lines of /proc/net/dev: one for each interface, with its name, a colon, and
// eight numbers for what came in, which begin with bytes and packets, before eight for what left.
func interfaces(text []byte) func(yield func(string, [][]byte) bool) {
	return func(yield func(string, [][]byte) bool) {
		for line := range bytes.Lines(text) {
			name, counts, _ := bytes.Cut(line, []byte(":"))
			fields := bytes.Fields(counts)
			if len(fields) >= columns && !yield(string(bytes.TrimSpace(name)), fields) {
				return
			}
		}
	}
}

func traffic(fields [][]byte) api.Counters {
	const bytesIn, packetsIn, bytesOut, packetsOut = 0, 1, 8, 9
	number := func(column int) uint64 {
		n, _ := strconv.ParseUint(string(fields[column]), 10, 64)
		return n
	}
	return api.Counters{BytesIn: number(bytesIn), PacketsIn: number(packetsIn),
		BytesOut: number(bytesOut), PacketsOut: number(packetsOut)}
}

// traffic6Of returns how much of it is IPv6.
func traffic6Of(iface string) probe.Traffic {
	text, err := os.ReadFile("/proc/self/net/dev_snmp6/" + iface)
	if err != nil {
		return probe.Traffic{}
	}
	return parseTraffic6(text)
}

// parseTraffic6 reads /proc/net/dev_snmp6: a line for each counter, its name and its value.
func parseTraffic6(text []byte) (t probe.Traffic) {
	for line := range bytes.Lines(text) {
		fields := bytes.Fields(line)
		if len(fields) != 2 {
			continue
		}
		n, _ := strconv.ParseUint(string(fields[1]), 10, 64)
		switch string(fields[0]) {
		case "Ip6InReceives":
			t.Received += n
		case "Ip6OutRequests", "Ip6OutForwDatagrams":
			t.Sent += n
		case "Ip6InOctets", "Ip6OutOctets":
			t.Bytes += n
		}
	}
	return t
}
