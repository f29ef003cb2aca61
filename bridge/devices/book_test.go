package devices

import (
	"net/netip"
	"slices"
	"testing"

	"ztbridge/bridge/decide"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute/kernel"
)

const (
	network = zerotier.NetworkID(0x0123456789abcdef)
	node    = zerotier.Address(0x1122334455)
)

// at returns the neighbours that a member makes by answering at addresses from first on.
func at(first, count int) []kernel.Neighbour {
	var out []kernel.Neighbour
	for i := range count {
		out = append(out, kernel.Neighbour{MAC: zerotier.MAC(network, node),
			Addr: netip.AddrFrom4([4]byte{10, 0, 0, byte(first + i)})})
	}
	return out
}

// A member that answers at more addresses than are kept changes the list once, and not in each
// pass: each change is written to the disk and changes the kernel.
func TestManyAddressesAreLearntOnce(t *testing.T) {
	devices := []decide.DeviceState{
		{Device: decide.Device{Network: network.String(), Member: node}}}
	status := zerotier.NetworkStatus{ID: network}
	if !meet(devices, 0, status, at(1, maxAddrs+4)) || len(devices[0].Addrs) != maxAddrs {
		t.Fatalf("met: %v", devices[0].Addrs)
	}
	first := slices.Clone(devices[0].Addrs)
	for range 3 {
		if meet(devices, 0, status, at(1, maxAddrs+4)) || !slices.Equal(devices[0].Addrs, first) {
			t.Fatalf("met again: %v, before %v", devices[0].Addrs, first)
		}
	}
	// Where it is met now counts more than where it was.
	if !meet(devices, 0, status, at(101, 1)) ||
		!slices.Contains(devices[0].Addrs, at(101, 1)[0].Addr) ||
		len(devices[0].Addrs) != maxAddrs {
		t.Errorf("met elsewhere: %v", devices[0].Addrs)
	}
}
