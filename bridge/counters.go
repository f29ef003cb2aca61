package bridge

import (
	"bytes"
	"os"
	"strconv"
)

// receivedBy returns how many packets have come in by an interface, 0 if there is none of that name. It
// reads what the kernel prints, since it is asked twice a second and wants one number.
func receivedBy(iface string) uint64 {
	text, err := os.ReadFile("/proc/self/net/dev")
	if err != nil {
		return 0
	}
	return received(text, iface)
}

// received finds the interface's count of packets in /proc/net/dev: "  eth0: bytes packets errs …".
func received(text []byte, iface string) uint64 {
	for line := range bytes.Lines(text) {
		name, counts, found := bytes.Cut(line, []byte(":"))
		fields := bytes.Fields(counts)
		if !found || len(fields) < 2 || string(bytes.TrimSpace(name)) != iface {
			continue
		}
		n, _ := strconv.ParseUint(string(fields[1]), 10, 64)
		return n
	}
	return 0
}
