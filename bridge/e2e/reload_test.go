package e2e

import (
	"syscall"
	"testing"
	"time"

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
	for deadline := time.Now().Add(waitTimeout); b.try(
		"ip link show tunztb-former") == nil; time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the device of the egress that is gone is still there")
		}
	}
	b.sh("ip link show tunztb-provider")
	_, before, _ := stream.Counts()
	for deadline := time.Now().Add(waitTimeout); ; time.Sleep(50 * time.Millisecond) {
		if _, now, _ := stream.Counts(); now >= before+5 {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("clients are not answered by the next egress: %v", stream.Report())
		}
	}
	stream.Stop()
	noLeak(t, leaks)
}
