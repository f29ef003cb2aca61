package build

import (
	"fmt"
	"testing"
	"time"

	"ztbridge/bridge/lab"
)

// maxMemory is for everything beside the kernel's own, in MiB, of a box of 512 whose tunnel is up
// and carries nothing.
const maxMemory = 100

func TestIdleMemory(t *testing.T) {
	for _, tt := range []struct{ name, image, config string }{
		{"without ZeroTier", "cloud-amd64", jobConfig},
		{"with ZeroTier", "cloud-amd64-zerotier", goodConfig},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, builtImage(t, tt.image), lab.Options{})
			r.provisionJob(tt.config)
			r.boot()
			r.await("ip -4 address show dev tunztb-provider", "inet ")
			// what the start was busy with has ended, and so have the sessions of this test
			const idle = 30 * time.Second
			time.Sleep(idle)
			if used := r.memoryUsed(); used > maxMemory {
				t.Errorf("%d MiB of memory are used, more than %d", used, maxMemory)
			}
		})
	}
}

// memoryUsed is what programs could not have, in MiB: caches that make room are not counted.
func (r *rig) memoryUsed() int {
	r.t.Helper()
	var total, free, available int
	out := r.mustSSH(
		"head -n 3 /proc/meminfo; cat /sys/fs/cgroup/system.slice/ztbridge.service/memory.current")
	if _, err := fmt.Sscanf(out, "MemTotal: %d kB\nMemFree: %d kB\nMemAvailable: %d kB\n", &total,
		&free, &available); err != nil {
		r.t.Fatalf("reading %q: %v", out, err)
	}
	used := (total - available) >> 10
	r.t.Logf("memory: %d MiB used of %d\n%s", used, total>>10, out)
	return used
}
