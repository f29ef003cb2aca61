package e2e

import (
	"strconv"
	"syscall"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
)

// TestReloadLeavesConnections changes the policy for one destination and for one client while
// connections of theirs and of others are open: those are cut, and the others live.
func TestReloadLeavesConnections(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	b := newBox(t, top.Box)
	b.write("provider.ovpn", top.Providers[0].Config())
	const egresses = "ingress: [ing0]\negress:\n  provider: {openvpn: {profile: provider.ovpn}}\n  direct: {wan: {}}\nprobe: {targets: [192.0.2.10]}\n"
	b.write("ztbridge.yaml", egresses+"policy: [{egress: [provider]}]\n")
	must(t, top.Box.IP("link add lan9 type veth peer name lan9peer", "link set lan9peer up",
		"link set lan9 up", "addr add 192.168.9.1/24 dev lan9"))
	b.start()
	b.awaitEgress("provider")
	// A client's connection is translated to the tunnel's address: one that is not began without
	// the filter, and is cut whenever another program has changed filters.
	const tunnel = "10.8.0.2"
	flows := []struct {
		source, translated, target string
		cut                        bool
	}{
		{"10.77.0.2", tunnel, "203.0.113.80", false},
		{"10.77.0.2", tunnel, "192.168.9.7", true}, // by the peering that comes
		{"10.77.0.3", tunnel, "203.0.113.80", true},
		{lab.BoxWAN4.String(), lab.BoxWAN4.String(), "203.0.113.80", false}, // the box's own
	}
	for i, f := range flows {
		port := strconv.Itoa(1000 + i)
		b.sh("conntrack -I -p udp -s " + f.source + " -d " + f.target + " -r " + f.target + " -q " +
			f.translated + " --sport " + port + " --dport 9 --reply-port-src 9 --reply-port-dst " +
			port + " -t 120")
	}

	b.write("ztbridge.yaml", egresses+
		"policy: [{from: [10.77.0.3], egress: [direct]}, {egress: [provider]}]\npeering: [{from: ing0, to: 192.168.9.0/24}]\n")
	must(t, b.daemon.Signal(syscall.SIGHUP))
	open := func(source, target string) bool {
		return b.try("conntrack -L -p udp -s "+source+" -d "+target+
			" 2>/dev/null | grep -q udp") == nil
	}
	await(t, "the end of the connection of a client that leaves by another egress now",
		func() bool { return !open("10.77.0.3", "203.0.113.80") })
	b.await("the way out that was", func(st api.Status) bool {
		return len(st.Egresses) > 0 &&
			st.Egresses[0].Usable
	})
	for _, f := range flows {
		if got := !open(f.source, f.target); got != f.cut {
			t.Errorf("from %s to %s: cut is %v, want %v", f.source, f.target, got, f.cut)
		}
	}
}
