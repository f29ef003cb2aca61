package build

import (
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/lab"
)

// Our own image at Oracle's: all it knows is in the metadata of the machine, the user-data for a
// stock image, of which it takes the files, and the key that the machine was created with. The
// second card, which clouds do not set up, is the only thing that a file says.
func TestImageTakesOraclesMetadata(t *testing.T) {
	r := newRig(t, builtImage(t, "cloud-amd64"), lab.Options{})
	put(t, r.disk, map[string]string{"clients.network": clientsNetwork})
	r.serveOracle(r.userData("https://"+packagesHost+"/ztbridge.deb", strings.Repeat("0", 64)))
	r.startStreams()
	r.boot()
	expect(t, r.guest, `taken over from the user-data: [^\r\n]*ztbridge.yaml`)
	r.awaitFlow("power on")
	r.assertHealthy()

	// What was taken over stays: user-data is for a machine's first start.
	_, _ = r.ssh("systemctl reboot")
	must(t, r.guest.Wait(bootTimeout))
	r.boot()
	r.awaitFlow("a restart")
	if out := r.await("systemctl show -p ConditionResult ztbridge-metadata",
		"ConditionResult"); !strings.Contains(out, "=no") {
		t.Errorf("the metadata was asked for again: %s", out)
	}
	_, _ = r.ssh("systemctl poweroff")
	must(t, r.guest.Wait(bootTimeout))
	time.Sleep(time.Second) // what is under way arrives
	r.finish()
}
