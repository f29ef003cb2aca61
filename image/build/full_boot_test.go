package build

import (
	"strings"
	"testing"

	"ztbridge/bridge/lab"
)

// A data partition that is full, as after somebody has kept files on it: what is new is not taken
// over and not lost, and the box says so and goes on with what it has.
func TestFullDataPartition(t *testing.T) {
	r := newRig(t, builtImage(t, "cloud-amd64"), lab.Options{})
	r.provisionJob(jobConfig)
	r.startStreams()
	r.boot()
	r.awaitFlow("power on")
	r.mustSSH("cat /dev/zero >/data/mine 2>/dev/null; sync")
	r.guest.Kill()
	r.awaitSilence("the power cut")

	changed := "# new\n" + jobConfig
	put(t, r.disk, map[string]string{"ztbridge.yaml": changed})
	r.boot()
	const say, hint = "the data partition is full",
		"log in by SSH and remove what is not needed on /data"
	expect(t, r.guest, spread(say))
	r.awaitErrorFile(say, hint)
	said := r.await("ztbridge status 2>&1 | tr -s ' \\n' '  '", say)
	if !strings.Contains(said, hint) {
		t.Errorf("`ztbridge status` does not say what to do:\n%s", said)
	}
	if got, err := r.disk.Get("ztbridge.yaml"); err != nil || got != changed {
		t.Errorf("the user's file is not as it was: %q, %v", got, err)
	}
	r.awaitFlow("a start with a full data partition")

	// The owner does as told.
	r.mustSSH("rm /data/mine; sync")
	r.guest.Kill()
	r.boot()
	r.awaitFlow("a start after the file was removed")
	if got := r.mustSSH("head -n 1 /etc/ztbridge/ztbridge.yaml"); got != "# new\n" {
		t.Errorf("the new configuration was not taken over: %q", got)
	}
	r.awaitNoErrorFile()
	r.finish()
}
