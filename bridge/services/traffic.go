package services

import (
	"bytes"
	"iter"
	"os"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"

	"ztbridge/bridge/api"
	"ztbridge/bridge/probe"
)

// procSize is the usual size of what these files hold: 120 bytes for each interface.
const procSize = 4 << 10

// readProc reads a file of proc into buf, and returns it, grown if it was too small. os.ReadFile
// does the same with three times as many calls of the kernel, most of them for its poller, and
// probers read several times a second.
func readProc(path string, buf []byte) ([]byte, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil, &os.PathError{Op: "open", Path: path, Err: err}
	}
	defer unix.Close(fd)
	for {
		buf = slices.Grow(buf, 1)
		n, err := unix.Read(fd, buf[len(buf):cap(buf)])
		if err != nil {
			return nil, &os.PathError{Op: "read", Path: path, Err: err}
		}
		if n == 0 {
			return buf, nil
		}
		buf = buf[:len(buf)+n]
	}
}

// readTraffic returns what has passed each interface; nothing if it cannot be read.
func readTraffic() map[string]api.Counters {
	out := map[string]api.Counters{}
	for name, counts := range netDev() {
		out[name] = parseCounters(counts)
	}
	return out
}

// trafficOf returns what has passed one interface, nothing if there is none of that name. It parses
// that interface's line alone: probers ask several times a second.
func trafficOf(iface string) probe.Traffic {
	for name, counts := range netDev() {
		if name == iface {
			t := parseCounters(counts)
			return probe.Traffic{Received: t.PacketsIn, Sent: t.PacketsOut,
				Bytes: t.BytesIn + t.BytesOut}
		}
	}
	return probe.Traffic{}
}

// netDev yields each interface of this network namespace with its counters as text.
func netDev() iter.Seq2[string, []byte] {
	// Without the file there is no interface.
	text, _ := readProc("/proc/self/net/dev", make([]byte, 0, procSize))
	return interfaces(text)
}

// interfaces yields the lines of /proc/net/dev: the name of an interface and what follows its
// colon. The headings have none.
func interfaces(text []byte) iter.Seq2[string, []byte] {
	return func(yield func(string, []byte) bool) {
		for line := range bytes.Lines(text) {
			name, counts, ok := bytes.Cut(line, []byte(":"))
			if ok && !yield(string(bytes.TrimSpace(name)), counts) {
				return
			}
		}
	}
}

// parseCounters reads the numbers of an interface. Eight are for what came in, then as many for
// what left; each begins with bytes and packets. A line with fewer is zero.
func parseCounters(counts []byte) api.Counters {
	const bytesIn, packetsIn, bytesOut, packetsOut, columns = 0, 1, 8, 9, 16
	fields := bytes.Fields(counts)
	if len(fields) < columns {
		return api.Counters{}
	}
	number := func(column int) uint64 {
		n, _ := strconv.ParseUint(string(fields[column]), 10, 64)
		return n
	}
	return api.Counters{BytesIn: number(bytesIn), PacketsIn: number(packetsIn),
		BytesOut: number(bytesOut), PacketsOut: number(packetsOut)}
}

// traffic6Of returns how much of it is IPv6.
func traffic6Of(iface string) probe.Traffic {
	text, err := readProc("/proc/self/net/dev_snmp6/"+iface, make([]byte, 0, procSize))
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
