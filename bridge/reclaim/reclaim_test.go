package reclaim

import (
	"math"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// machine is one made of files.
func machine(t *testing.T, files map[string]string) *Meter {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		file := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return &Meter{proc: filepath.Join(dir, "proc"), sys: filepath.Join(dir, "sys"),
		capacity: capacity("amd64", 2)}
}

func TestApplies(t *testing.T) {
	for tag, want := range map[string]bool{"OracleCloud.com\n": true, "": false,
		"No Asset Tag\n": false} {
		if got := applies(machine(t,
			map[string]string{"sys/class/dmi/id/chassis_asset_tag": tag}).sys); got != want {
			t.Errorf("with asset tag %q: %v", tag, got)
		}
	}
	if applies(t.TempDir()) {
		t.Error("a machine without DMI is Oracle's")
	}
}

func TestReadingOfAMinute(t *testing.T) {
	m := machine(t, map[string]string{
		"proc/stat":                                "cpu  100 20 30 800 50 5 5 10 40 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n",
		"proc/meminfo":                             "MemTotal:        1000 kB\nMemFree:          100 kB\nMemAvailable:     850 kB\n",
		"sys/class/net/enp0s3/device/vendor":       "",
		"sys/class/net/enp0s3/statistics/rx_bytes": "1000\n",
		"sys/class/net/enp0s3/statistics/tx_bytes": "600\n",
		"sys/class/net/tun0/statistics/rx_bytes":   "99999999\n",
	})
	before, ok := m.read()
	if !ok || before.busy != 170 || before.total != 1020 || before.in != 1000 || before.out != 600 {
		t.Fatalf("read %+v, %v", before, ok)
	}
	now := before
	now.at = before.at.Add(time.Minute)
	now.busy, now.total = before.busy+25, before.total+100
	now.in, now.out = before.in+45e6*60/10, before.out+45e6*60 // 360 Mbit/s of 480 out, a tenth in
	got := now.since(before, m.capacity)
	if math.Abs(float64(got.cpu)-25) > 0.01 || math.Abs(float64(got.network)-75) > 0.01 ||
		math.Abs(float64(got.memory)-15) > 0.01 {
		t.Errorf("got %+v, want 25 %% CPU, 75 %% network, 15 %% memory", got)
	}
	if lost := before.since(now, m.capacity); lost.network != 0 || lost.cpu != 0 {
		t.Errorf("counters that went back, as after a card was changed, gave %+v", lost)
	}
}

func TestUsage(t *testing.T) {
	m := &Meter{}
	if u := m.Usage(); u.Over != 0 {
		t.Errorf("before the first minute: %+v", u)
	}
	for i := range 100 {
		m.add(minute{cpu: float32(i + 1), memory: 10, network: float32(i % 2)})
	}
	if u := m.Usage(); u.CPU != 95 || math.Abs(u.Memory-10) > 0.01 ||
		math.Abs(u.Network-0.5) > 0.01 || u.Over != 100*time.Minute {
		t.Errorf("got %+v", u)
	}
	// A week later nothing of it counts any more.
	for range int(Window / every) {
		m.add(minute{cpu: 3})
	}
	if u := m.Usage(); u.CPU != 3 || u.Memory != 0 || u.Over != Window {
		t.Errorf("after a week: %+v", u)
	}
}

func TestIdle(t *testing.T) {
	tests := []struct {
		usage Usage
		arch  string
		want  bool
	}{
		{Usage{CPU: 3, Network: 1, Memory: 60}, "amd64", true},
		{Usage{CPU: 3, Network: 1, Memory: 60}, "arm64", false},
		{Usage{CPU: 3, Network: 1, Memory: 19}, "arm64", true},
		{Usage{CPU: 20, Network: 1, Memory: 1}, "arm64", false},
		{Usage{CPU: 3, Network: 20, Memory: 1}, "amd64", false},
	}
	for _, tt := range tests {
		if got := tt.usage.Idle(tt.arch); got != tt.want {
			t.Errorf("%+v on %s: %v", tt.usage, tt.arch, got)
		}
	}
}
