package build

import (
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/lab"
)

// A box is lost. Its backup and the passphrase, put on the FAT partition of a new card, make that
// the same box at its first start: devices and a connected phone leave by the provider again, with
// no step between. Both files are gone from the card then.
func TestBackupMovesToAnotherCard(t *testing.T) {
	image := builtImage(t, "cloud-amd64")
	r := newRig(t, image, lab.Options{})
	r.provisionJob(jobConfig + "endpoint: {address: " + lab.BoxWAN4.String() +
		", listen: [udp/1194]}\n")
	r.startStreams()
	r.boot()
	r.awaitFlow("power on")
	profile := r.connectPhone()
	const passphrase = "nine tall giraffes"
	out := r.mustSSH("echo '" + passphrase + "' >/run/passphrase && ztbridge backup " +
		"--passphrase-file /run/passphrase -o /run/box.age >&2 && base64 -w 0 /run/box.age")
	sealed, err := base64.StdEncoding.DecodeString(strings.TrimSpace(out))
	must(t, err)
	r.guest.Kill()

	r.disk = newDisk(t, image)
	r.machine.Disk = string(r.disk)
	put(t, r.disk, map[string]string{"box.age": string(sealed), "passphrase.txt": passphrase + "\n"})
	r.boot()
	r.awaitFlow("the move to another card")
	if again := r.mustSSH("ztbridge client show phone"); again != profile {
		t.Errorf("the phone's profile is another one:\n%s", again)
	}
	left, err := r.disk.List()
	must(t, err)
	for _, name := range []string{"box.age", "passphrase.txt"} {
		if strings.Contains(left, name) {
			t.Errorf("%s is still on the card:\n%s", name, left)
		}
	}
	r.guest.Kill()
	time.Sleep(time.Second) // what is under way arrives
	r.finish()
}
