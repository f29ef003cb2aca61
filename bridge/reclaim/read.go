package reclaim

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// reading is what the kernel has counted up to a moment.
type reading struct {
	at          time.Time
	busy, total uint64 // ticks of all processors
	memory      float64
	in, out     uint64 // bytes
}

// since returns the use between two readings. The network carries both directions at once, so the
// busier one counts.
func (r reading) since(before reading, capacity float64) minute {
	m := minute{memory: float32(r.memory)}
	if ticks := r.total - before.total; r.total > before.total {
		m.cpu = float32(100 * float64(r.busy-before.busy) / float64(ticks))
	}
	if seconds := r.at.Sub(before.at).Seconds(); seconds > 0 && r.in >= before.in &&
		r.out >= before.out {
		m.network = float32(100 * float64(max(r.in-before.in,
			r.out-before.out)) / seconds / capacity)
	}
	return m
}

func (m *Meter) read() (r reading, ok bool) {
	stat, err := os.ReadFile(filepath.Join(m.proc, "stat"))
	if err != nil {
		return r, false
	}
	memory, err := os.ReadFile(filepath.Join(m.proc, "meminfo"))
	if err != nil {
		return r, false
	}
	r.at = time.Now()
	r.busy, r.total = ticks(string(stat))
	r.memory = used(string(memory))
	r.in, r.out = m.bytes()
	return r, r.total > 0
}

// ticks reads /proc/stat: user, nice, system, idle, iowait, irq, softirq, steal; guests are in user
// already.
func ticks(stat string) (busy, total uint64) {
	line, _, _ := strings.Cut(stat, "\n")
	for i, field := range strings.Fields(line) {
		n, err := strconv.ParseUint(field, 10, 64)
		if err != nil || i > 8 {
			continue
		}
		total += n
		if i != 4 && i != 5 {
			busy += n
		}
	}
	return busy, total
}

// used reads /proc/meminfo, and returns percent.
func used(meminfo string) float64 {
	values := map[string]float64{}
	for line := range strings.SplitSeq(meminfo, "\n") {
		name, rest, _ := strings.Cut(line, ":")
		if fields := strings.Fields(rest); len(fields) > 0 {
			values[name], _ = strconv.ParseFloat(fields[0], 64)
		}
	}
	if values["MemTotal"] == 0 {
		return 0
	}
	return 100 * (1 - values["MemAvailable"]/values["MemTotal"])
}

// bytes sums the counters of physical network cards. Tunnels and bridges have no device.
func (m *Meter) bytes() (in, out uint64) {
	cards, err := filepath.Glob(filepath.Join(m.sys, "class/net/*/device"))
	if err != nil {
		return 0, 0
	}
	for _, card := range cards {
		statistics := filepath.Join(filepath.Dir(card), "statistics")
		in += count(filepath.Join(statistics, "rx_bytes"))
		out += count(filepath.Join(statistics, "tx_bytes"))
	}
	return in, out
}

// count reads a counter; 0 where it cannot be read.
func count(file string) uint64 {
	text, err := os.ReadFile(file)
	if err != nil {
		return 0
	}
	n, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64)
	if err != nil {
		return 0
	}
	return n
}
