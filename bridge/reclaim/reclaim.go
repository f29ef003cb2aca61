package reclaim

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// Window is the time over which Oracle looks at a machine.
	Window = 7 * 24 * time.Hour
	// Limit is what Oracle calls idle, in percent.
	Limit = 20

	every = time.Minute
)

// applies reports whether this machine is one of Oracle's. sys is where sysfs is mounted.
func applies(sys string) bool {
	tag, err := os.ReadFile(filepath.Join(sys, "class/dmi/id/chassis_asset_tag"))
	return err == nil && strings.TrimSpace(string(tag)) == "OracleCloud.com"
}

// Usage is what was measured, in percent.
type Usage struct {
	CPU     float64       // 95th percentile of the minutes
	Network float64       // mean, of what the shape's network can carry
	Memory  float64       // mean
	Over    time.Duration // how long was measured, at most Window; zero: nothing is known yet
}

// Idle reports whether Oracle would call this idle if it were the whole window. arch is Go's name
// of the architecture: memory counts on A1 shapes, which are the ARM ones.
func (u Usage) Idle(arch string) bool {
	return u.CPU < Limit && u.Network < Limit && (u.Memory < Limit || arch != "arm64")
}

// minute is one measurement, in percent. The whole window of them takes 40 KiB.
type minute struct{ cpu, memory, network float32 }

// Meter measures a machine. It keeps nothing over a restart.
type Meter struct {
	proc, sys string
	capacity  float64 // bytes a second

	mu      sync.Mutex
	minutes []minute // the last ones, oldest overwritten at next
	next    int
}

// New returns a meter that measures this machine once Run is called; nil if it is not one of
// Oracle's.
func New() *Meter {
	if !applies("/sys") {
		return nil
	}
	return &Meter{proc: "/proc", sys: "/sys", capacity: capacity(runtime.GOARCH, runtime.NumCPU())}
}

// capacity returns the network's bytes a second, by the documentation of the shapes: 480 Mbit/s for
// VM.Standard.E2.1.Micro, 1 Gbit/s for each core of VM.Standard.A1.Flex.
func capacity(arch string, cpus int) float64 {
	if arch == "arm64" {
		return float64(cpus) * 1e9 / 8
	}
	return 480e6 / 8
}

// Run measures until ctx ends. It skips what cannot be read. A nil meter measures nothing.
func (m *Meter) Run(ctx context.Context) {
	if m == nil {
		return
	}
	ticker := time.NewTicker(every)
	defer ticker.Stop()
	before, known := m.read()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now, ok := m.read()
		if ok && known {
			m.add(now.since(before, m.capacity))
		}
		before, known = now, ok
	}
}

func (m *Meter) add(one minute) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.minutes) < int(Window/every) {
		m.minutes = append(m.minutes, one)
		return
	}
	m.minutes[m.next] = one
	m.next = (m.next + 1) % len(m.minutes)
}

// Usage returns what was measured so far, nil by a nil meter.
func (m *Meter) Usage() *Usage {
	if m == nil {
		return nil
	}
	m.mu.Lock()
	minutes := slices.Clone(m.minutes)
	m.mu.Unlock()
	if len(minutes) == 0 {
		return &Usage{}
	}
	u := Usage{Over: time.Duration(len(minutes)) * every}
	cpu := make([]float32, 0, len(minutes))
	for _, one := range minutes {
		cpu = append(cpu, one.cpu)
		u.Network += float64(one.network) / float64(len(minutes))
		u.Memory += float64(one.memory) / float64(len(minutes))
	}
	slices.Sort(cpu)
	u.CPU = float64(cpu[(len(cpu)*95+99)/100-1]) // the nearest rank
	return &u
}
