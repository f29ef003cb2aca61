package kernel

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"
)

const (
	// conntrackStats has the counters of each CPU, in hexadecimal, of the thread's own namespace
	// (net/netfilter/nf_conntrack_standalone.c, ct_cpu_seq_show).
	conntrackStats = "/proc/thread-self/net/stat/nf_conntrack"
	// fullFor is how long after a dropped packet the table counts as full. It is longer than the
	// pause between two observations, so that a table that stays full is told without breaks.
	fullFor = 30 * time.Second
	// fullShare is the part of the maximum, in percent, from which on dropped packets are a full
	// table's. The kernel counts others by the same counter: two packets of one new connection that
	// race.
	fullShare = 90
)

// connTable remembers what the table of connections has dropped. The zero value has not looked yet.
type connTable struct {
	looked  bool
	dropped uint64    // packets, when it was looked at last
	at      time.Time // when a full table was seen to drop some; zero: never
}

// observe returns the limit, if so many connections are followed that packets of new ones were
// dropped within fullFor; else 0.
func (t *connTable) observe(now time.Time, count, limit int, dropped uint64) int {
	crowded := limit > 0 && count >= limit/100*fullShare
	if crowded && (t.looked && dropped > t.dropped || count >= limit) {
		t.at = now
	}
	t.looked, t.dropped = true, dropped
	if !crowded || t.at.IsZero() || now.Sub(t.at) >= fullFor {
		return 0
	}
	return limit
}

// conntrackFull returns how many connections the host follows at most, if its table of them is
// full. It returns 0 where that is unknown.
func (k *Kernel) conntrackFull() int {
	count, limit := readNumber("net/netfilter/nf_conntrack_count"),
		readNumber("net/netfilter/nf_conntrack_max")
	text, err := os.ReadFile(conntrackStats)
	if err != nil {
		k.log.Debug("what the table of connections dropped cannot be read", "error", err)
	}
	return k.connTable.observe(time.Now(), count, limit, droppedPackets(string(text)))
}

// droppedPackets adds up the column "drop" of conntrack's statistics. It returns 0 for what it
// cannot read.
func droppedPackets(stats string) (total uint64) {
	column := -1
	for line := range strings.Lines(stats) {
		fields := strings.Fields(line)
		if column < 0 {
			for i, name := range fields {
				if name == "drop" {
					column = i
				}
			}
			continue
		}
		if column < len(fields) {
			n, _ := strconv.ParseUint(fields[column], 16, 64)
			total += n
		}
	}
	return total
}

// readNumber returns the value of a kernel parameter that is a number; 0 if it cannot be read.
func readNumber(key string) (n int) {
	text, err := readSysctl(key)
	if err == nil {
		_, err = fmt.Sscan(text, &n)
	}
	if err != nil {
		return 0
	}
	return n
}
