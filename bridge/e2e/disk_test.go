package e2e

import (
	"slices"
	"strings"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
	"ztbridge/bridge/lab"
)

// TestForwardsWhileTheDiskIsFull fills the disks with the state and with the files of processes. A
// listener more, a new session and a restart find no space, and clients lose nothing by that; what
// a person asks for is refused, with the reason, and leaves nothing behind.
func TestForwardsWhileTheDiskIsFull(t *testing.T) {
	t.Parallel()
	const config = truthConfig + "policy: [{from: [ing0, endpoint], egress: [provider]}]\n"
	top := standard(t, lab.Options{Providers: []lab.ProviderOptions{{
		Credentials: &truthCustomer}}})
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("provider.auth", truthCustomer.User+"\n"+truthCustomer.Password+"\n")
	b.write("ztbridge.yaml", config+"endpoint: {address: 198.51.100.2, listen: [udp/1194]}\n")
	for _, dir := range []string{"state", "run"} {
		b.sh("mkdir " + b.dir + "/" + dir + " && mount -t tmpfs -o size=2m,mode=0711,uid=" +
			serviceUser + " none " + b.dir + "/" + dir)
	}
	b.start()
	b.awaitEgress("provider")
	stream, err := top.ClientStream(lab.UDP, lab.IPv4, 20)
	must(t, err)
	awaitAnswers(t, stream, 5)

	const fill = "head -c 3000000 /dev/zero > %/state/fill; head -c 3000000 /dev/zero > %/run/fill; true"
	b.sh(strings.ReplaceAll(fill, "%", b.dir))
	for _, args := range [][]string{{"client", "add", "phone"}, {"egress", "use", "provider"}} {
		if out, err := b.run(args...); err == nil ||
			!strings.Contains(err.Error(), "hint: the disk is full") {
			t.Errorf("ztbridge %v: %v\n%s", args, err, out)
		}
	}
	if out := b.mustRun("client", "list"); strings.Contains(out, "phone") {
		t.Errorf("a client that was refused is there:\n%s", out)
	}
	b.write("ztbridge.yaml",
		config+"endpoint: {address: 198.51.100.2, listen: [udp/1194, tcp/443]}\n")
	b.reload()
	full := func(st api.Status) bool {
		return st.Reconcile.Error == "" && slices.ContainsFunc(st.Conditions,
			func(c api.Condition) bool { return c.Code == health.DiskFull })
	}
	b.await("the disk to be told, and no error of the kernel's", full)
	awaitAnswers(t, stream, 5)
	before, err := b.status()
	must(t, err)
	must(t, top.Providers[0].Disconnect())
	b.await("another session", func(st api.Status) bool {
		return st.Egresses[0].State == "up" && st.Egresses[0].Since.After(before.Egresses[0].Since)
	})
	awaitAnswers(t, stream, 5)
	b.stop()
	b.start()
	b.await("the disk to be told after a restart", full)
	b.awaitEgress("provider")
	awaitAnswers(t, stream, 5)

	b.sh("rm " + b.dir + "/state/fill " + b.dir + "/run/fill")
	b.mustRun("client", "add", "phone")
	b.await("clients by the listener that had no space", func(st api.Status) bool {
		return !slices.ContainsFunc(st.Conditions,
			func(c api.Condition) bool { return c.Code == health.ListenerFailed })
	})
}
