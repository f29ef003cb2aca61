package build

import (
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/lab"
)

// The main job, in a booted box that has been given files and nothing else: the client reaches the
// Internet by the provider, and never by the box's own line, from before the power is on until
// after it is off.
func TestGuestDoesItsJob(t *testing.T) {
	r := newRig(t, builtImage(t, "cloud-amd64"), lab.Options{})
	r.provisionJob(jobConfig)
	r.startStreams()
	r.boot()
	r.awaitFlow("power on")
	assertNoSecrets(t, r.disk)
	r.assertHealthy()

	provider := r.lab.Providers[0]
	for _, event := range []struct {
		name string
		do   func()
	}{
		{"the server dies and returns", func() {
			provider.Kill()
			r.await("ztbridge status --json", `"state": "closed"`)
			r.awaitSilence("the server's death")
			must(t, provider.Start(t.Context()))
		}},
		{"openvpn is killed", func() { r.mustSSH(killByName("openvpn")) }},
		{"the daemon is killed", func() { r.mustSSH(killByName("ztbridge")) }},
		{"the daemon is restarted", func() { r.mustSSH("systemctl restart ztbridge") }},
	} {
		event.do()
		r.awaitFlow(event.name)
	}
	_, _ = r.ssh("systemctl poweroff") // which ends the session as well
	must(t, r.guest.Wait(bootTimeout))
	time.Sleep(time.Second) // what is under way arrives
	r.finish()
}

// killByName needs no tools, of which the image has few.
func killByName(name string) string {
	return `for p in /proc/[0-9]*; do read c < $p/comm && [ "$c" = ` + name +
		` ] && kill -9 ${p#/proc/}; done 2>/dev/null; true`
}

// assertHealthy looks at the running box as its owner would: no unit has failed or was restarted,
// the daemon is content, and the sandbox of its unit, which no other test runs in, is the one that
// was asked for.
func (r *rig) assertHealthy() {
	r.t.Helper()
	if out := r.await("systemctl is-system-running",
		"running"); strings.TrimSpace(out) != "running" {
		r.t.Errorf("the system is %s:\n%s", strings.TrimSpace(out),
			r.mustSSH("systemctl --failed --no-pager --plain"))
	}
	r.t.Logf("status:\n%s", r.await("ztbridge status", "Working: every device leaves as configured."))
	if log := r.mustSSH("journalctl --no-pager -o cat -u ztbridge"); strings.Contains(log,
		"config-error") {
		r.t.Errorf("the daemon started before the box was ready for its openvpn:\n%s", log)
	}
	for _, unit := range []string{"ztbridge", "ztbridge-guard", "ztbridge-console"} {
		show := r.mustSSH(
			"systemctl show -p ActiveState,Result,NRestarts,NoNewPrivileges,ProtectSystem,UMask " +
				unit)
		if !strings.Contains(show, "NRestarts=0\n") || !strings.Contains(show,
			"ActiveState=active\n") || !strings.Contains(show, "Result=success\n") {
			r.t.Errorf("unit %s: %s\n%s", unit, show,
				r.mustSSH("journalctl --no-pager -n 50 -u "+unit))
		}
	}
	r.t.Logf("%s",
		r.mustSSH(
			"systemd-analyze security --no-pager ztbridge.service ztbridge-guard.service | tail -n 1; systemctl status --no-pager -n 0 ztbridge"))
	r.memoryUsed()
}
