package zerotier

import (
	"math/rand/v2"
	"net"
	"testing"
)

// What a real zerotier-one 1.14.1 answered, and what its source says of 0x52.
func TestMAC(t *testing.T) {
	tests := []struct{ network, node, mac string }{
		{"fe5f2d532b02de82", "375530c131", "82:e9:57:1b:92:1c"},
		{"fe5f2d532b02de82", "7c9ea20c1b", "82:a2:9c:89:5f:36"},
		{"0000000000000052", "0000000001", "32:00:00:00:00:01"},
		{"0000000000000001", "89e92ceee5", "02:89:e9:2c:ee:e5"},
	}
	for _, tt := range tests {
		n, err := ParseNetworkID(tt.network)
		if err != nil {
			t.Fatal(err)
		}
		a, err := ParseAddress(tt.node)
		if err != nil {
			t.Fatal(err)
		}
		if got := MAC(n, a).String(); got != tt.mac {
			t.Errorf("%s in %s: %s, want %s", tt.node, tt.network, got, tt.mac)
		}
	}
}

func TestNodeOf(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for range 10000 {
		n, a := NetworkID(rng.Uint64()), Address(rng.Uint64()>>24)
		if a>>32 == 0xff || a == 0 {
			continue
		}
		if got, ok := NodeOf(n, MAC(n, a)); !ok || got != a {
			t.Fatalf("%s in %s: read back as %s, %t", a, n, got, ok)
		}
		other := MAC(n, a)
		other[0] ^= 0x04 // of another network, or behind a bridge
		if _, ok := NodeOf(n, other); ok {
			t.Fatalf("%s is taken for a node's of %s", other, n)
		}
	}
	for _, mac := range []net.HardwareAddr{nil, {1, 2, 3}, make(net.HardwareAddr, 8)} {
		if _, ok := NodeOf(1, mac); ok {
			t.Errorf("%s is taken for a node's", mac)
		}
	}
}
