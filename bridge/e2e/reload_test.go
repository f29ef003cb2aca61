package e2e

import (
	"syscall"
	"testing"

	"ztbridge/bridge/lab"
)

// TestReloadRemovesAnEgress takes away the egress that clients use: they go on by the next one,
// nothing leaks, and its device goes, too.
func TestReloadRemovesAnEgress(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{Providers: []lab.ProviderOptions{{}, {}}})
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("former.ovpn", top.Providers[1].Config())
	const both = "ingress: [ing0]\negress:\n  former: {openvpn: {profile: former.ovpn}}\n  provider: {openvpn: {profile: provider.ovpn}}\nprobe: {targets: [192.0.2.10], hold_down: 1s}\n"
	b.write("ztbridge.yaml", both)
	b.start()
	b.awaitEgress("former")
	leaks, err := top.WatchLeaks()
	must(t, err)
	stream, err := top.ClientStream(lab.UDP, lab.IPv4, 100)
	must(t, err)

	b.write("ztbridge.yaml", gatewayConfig)
	must(t, b.daemon.Signal(syscall.SIGHUP))
	b.awaitEgress("provider")
	await(t, "the end of the device of the egress that is gone",
		func() bool { return b.try("ip link show tunztb-former") != nil })
	b.sh("ip link show tunztb-provider")
	awaitAnswers(t, stream, 5)
	stream.Stop()
	noLeak(t, leaks)
}
