package e2e

import (
	"syscall"
	"testing"
	"time"

	"ztbridge/bridge/api"
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

// TestReloadGapBesideAHungTunnel takes away an egress whose openvpn does not end when it is told
// to: the clients do not wait with it.
func TestReloadGapBesideAHungTunnel(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{Providers: []lab.ProviderOptions{{}, {}}})
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	b.write("former.ovpn", top.Providers[1].Config())
	const both = "ingress: [ing0]\negress:\n  former: {openvpn: {profile: former.ovpn}}\n" +
		"  provider: {openvpn: {profile: provider.ovpn}}\n" +
		"probe: {targets: [192.0.2.10], hold_down: 1s}\n"
	b.write("ztbridge.yaml", both)
	b.start()
	b.awaitEgress("former")
	b.await("to have the next one ready", func(st api.Status) bool { return st.Egresses[1].Usable })
	leaks, err := top.WatchLeaks()
	must(t, err)
	stream, err := top.ClientStream(lab.UDP, lab.IPv4, 100)
	must(t, err)
	awaitAnswers(t, stream, 20)

	b.write("ztbridge.yaml", gatewayConfig)
	must(t, syscall.Kill(b.openvpn("former"), syscall.SIGSTOP))
	at := time.Now()
	must(t, b.daemon.Signal(syscall.SIGHUP))
	b.awaitEgress("provider")
	awaitAnswers(t, stream, 50)
	gap := stream.Report().Gap(at, time.Now())
	t.Logf("clients waited %v", gap.Round(time.Millisecond))
	if gap > 1200*time.Millisecond {
		t.Errorf("clients waited %v for a tunnel that is gone", gap)
	}
	await(t, "the end of the device of the egress that is gone",
		func() bool { return b.try("ip link show tunztb-former") != nil })
	stream.Stop()
	noLeak(t, leaks)
}
