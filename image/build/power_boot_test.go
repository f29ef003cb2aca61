package build

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"testing"
	"time"

	"ztbridge/bridge/lab"
)

// The power goes at random moments of the first start, of the daily work and of an update, the
// start on trial included: each time the box comes up, does its job, and has all it was given.
// ZTBRIDGE_POWER_CUTS says how many times in all; 20 take an hour.
func TestPowerCuts(t *testing.T) {
	image := builtImage(t, "cloud-amd64")
	cuts := 3
	if text := os.Getenv("ZTBRIDGE_POWER_CUTS"); text != "" {
		var err error
		cuts, err = strconv.Atoi(text)
		must(t, err)
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	within := func(d time.Duration) time.Duration { return time.Duration(random.Int64N(int64(d))) }

	r := newRig(t, image, lab.Options{})
	good := r.serve(map[string][]byte{"good": bundleOf(t, image, "cloud-amd64", "2")}) + "good"
	r.startStreams()
	// how long a first start takes: measured by the first one that is not cut
	start := 45 * time.Second
	phases := []struct {
		name string
		cut  func() time.Duration
	}{
		{"the first start", func() time.Duration {
			if r.guest != nil {
				r.guest.Kill()
			}
			must(t, os.Remove(string(r.disk)))
			r.disk = newDisk(t, image)
			r.machine.Disk = string(r.disk)
			r.provisionJob(jobConfig)
			r.boot()
			return within(start)
		}},
		{"the daily work", func() time.Duration { return within(20 * time.Second) }},
		{"an update", func() time.Duration {
			r.mustSSH("systemd-run --quiet ztbridge update " + good)
			return within(3 * start)
		}},
	}
	for cut := range cuts {
		phase := phases[cut%len(phases)]
		wait := phase.cut()
		if ended := r.guest.Wait(wait) == nil; ended { // the update has restarted it
			r.boot()
			wait = within(start)
			_ = r.guest.Wait(wait)
		}
		r.guest.Kill()
		t.Logf("cut %d, in %s, after %s", cut+1, phase.name, wait.Round(time.Millisecond))
		r.awaitSilence("the power cut")
		r.boot()
		if took := r.awaitFlow("a power cut in " + phase.name); cut == 0 {
			start = took
		}
		assertNoSecrets(t, r.disk)
		t.Logf("%s", r.await("ztbridge update status", "in use")) // SSH may come after the traffic
	}
	r.guest.Kill()
	if out, err := exec.Command("sfdisk", "--verify", string(r.disk)).CombinedOutput(); err != nil {
		t.Errorf("the partition table: %s", out)
	}
	r.finish()
}
