package build

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/lab"
)

const errorFileName = "ztbridge-error.txt"

// Whatever is wrong with the files: the box boots, says on the boot partition, on the console and
// by `ztbridge status` what it is and what to do, and no packet of a client's gets by, in the open
// least of all.
func TestBadProvisioning(t *testing.T) {
	type files = map[string]string
	auth := customer.User + "\n" + customer.Password + "\n"
	tests := []struct {
		name  string
		files func(profile string) files
		say   string // what is wrong
		hint  string // what to do
		works bool   // all the same
		kept  string // file that is still on the boot partition, for the user to correct
	}{
		{name: "broken YAML", files: func(p string) files {
			return files{"ztbridge.yaml": "egress: [", "provider.ovpn": p, "provider.auth": auth}
		}, say: "ztbridge.yaml:1", hint: "correct it here and start the box again",
			kept: "provider.ovpn"},
		{name: "no profile", files: func(string) files {
			return files{"ztbridge.yaml": jobConfig, "provider.auth": auth}
		},
			say: "provider.ovpn", hint: "correct it here and start the box again",
			kept: "ztbridge.yaml"},
		{name: "nothing at all", files: func(string) files { return nil },
			say:  "box is not set up yet and lets nothing through",
			hint: "open its page in a browser on its network"},
		{name: "a profile that runs a program", files: func(p string) files {
			return files{"ztbridge.yaml": jobConfig, "provider.auth": auth,
				"provider.ovpn": "script-security 2\nup \"/bin/sh -c 'echo run >/dev/shm/up'\"\n" +
					p}
		}, say: "a profile may not start programs", works: true},
		{name: "wrong credentials", files: func(p string) files {
			return files{"ztbridge.yaml": jobConfig, "provider.ovpn": p,
				"provider.auth": customer.User + "\nwrong\n"}
		}, say: "the server rejected the user name or password",
			hint: "check user name and password in the credentials file"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := newRig(t, builtImage(t, "cloud-amd64"), lab.Options{})
			r.provision(tt.files(r.lab.Providers[0].Config()))
			r.startStreams()
			r.boot()
			expect(t, r.guest, spread(regexp.QuoteMeta(tt.say)))
			r.awaitErrorFile(tt.say, tt.hint)
			said := r.await("ztbridge status 2>&1 | tr -s ' \\n' '  '", tt.say)
			if !strings.Contains(said, tt.hint) {
				t.Errorf("`ztbridge status` does not say what to do, %q:\n%s", tt.hint, said)
			}
			if tt.kept != "" {
				if _, err := r.disk.Get(tt.kept); err != nil {
					t.Errorf("the user's file is gone: %v", err)
				}
			}
			if tt.works {
				r.awaitFlow("power on")
				if out := r.mustSSH("ls /dev/shm"); strings.Contains(out, "up") {
					t.Error("the profile's program was run")
				}
			} else {
				r.assertClosed()
			}
			r.finish()
		})
	}
}

// spread makes a pattern of a phrase's words, wherever the console breaks the line.
func spread(phrase string) string {
	return strings.ReplaceAll(phrase, " ", `(?:\s|ztbridge:)+`)
}

// awaitErrorFile waits until the boot partition's file says both.
func (r *rig) awaitErrorFile(say, hint string) {
	r.t.Helper()
	text, err := "", error(nil)
	for deadline := time.Now().Add(bootTimeout); time.Now().Before(deadline); time.Sleep(
		500 * time.Millisecond) {
		if text, err = r.disk.Get(errorFileName); err == nil && strings.Contains(text, say) &&
			strings.Contains(text, hint) {
			if strings.Count(text, "\n") != strings.Count(text, "\r\n") {
				r.t.Errorf("not every editor shows these lines: %q", text)
			}
			return
		}
	}
	r.t.Fatalf("%s does not say %q and %q but %q (%v); console:\n%s", errorFileName, say, hint,
		text, err, r.guest.Tail(40))
}

// assertClosed checks that none of the client's packets was ever answered, and that it is the box
// that refuses them: by a filter, or by not forwarding where it knows of no clients yet.
func (r *rig) assertClosed() {
	r.t.Helper()
	for name, s := range r.streams {
		if _, answered, _ := s.Counts(); answered > 0 {
			r.t.Errorf("%d of %s were answered", answered, name)
		}
	}
	out := r.mustSSH("nft list table inet ztb 2>/dev/null || " +
		"cat /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv6/conf/all/forwarding")
	if !strings.Contains(out, "drop") && out != "0\n0\n" {
		r.t.Errorf("neither is there a filter that drops, nor is forwarding off:\n%s", out)
	}
}

// awaitNoErrorFile waits until the boot partition tells of nothing: a start may have had its
// troubles.
func (r *rig) awaitNoErrorFile() {
	r.t.Helper()
	text := ""
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(
		500 * time.Millisecond) {
		var err error
		if text, err = r.disk.Get(errorFileName); err != nil {
			return
		}
	}
	r.t.Errorf("%s still says: %s", errorFileName, text)
}
