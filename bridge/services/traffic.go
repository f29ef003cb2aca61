package services

import (
	"bytes"
	"os"
	"strconv"

	"ztbridge/bridge/probe"
)

// trafficOf returns what has passed an interface, nothing if there is none of that name. It reads
// what the kernel prints, since it is asked several times a second and wants four numbers.
func trafficOf(iface string) probe.Traffic {
	text, err := os.ReadFile("/proc/self/net/dev")
	if err != nil {
		return probe.Traffic{}
	}
	return parseTraffic(text, iface)
}

// parseTraffic finds an interface in /proc/net/dev: a line for each, with its name, a colon, and
// eight numbers for what came in, which begin with bytes and packets, before eight for what left.
func parseTraffic(text []byte, iface string) probe.Traffic {
	const bytesIn, packetsIn, bytesOut, packetsOut, columns = 0, 1, 8, 9, 16
	for line := range bytes.Lines(text) {
		name, counts, _ := bytes.Cut(line, []byte(":"))
		fields := bytes.Fields(counts)
		if len(fields) < columns || string(bytes.TrimSpace(name)) != iface {
			continue
		}
		number := func(column int) uint64 {
			n, _ := strconv.ParseUint(string(fields[column]), 10, 64)
			return n
		}
		return probe.Traffic{Received: number(packetsIn), Sent: number(packetsOut),
			Bytes: number(bytesIn) + number(bytesOut)}
	}
	return probe.Traffic{}
}
