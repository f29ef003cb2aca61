package services

import (
	"net/netip"
	"testing"
)

func TestCheckAddr(t *testing.T) {
	for prefix, want := range map[string]string{
		"2001:db8:1:2:8000::/80": "2001:db8:1:2:8000:ffff:ffff:fffa",
		"2001:db8::/48":          "2001:db8::ffff:ffff:ffff:ffff:fffa",
		"2001:db8::1:0/120":      "2001:db8::1:fa",
	} {
		if got := checkAddr(netip.MustParsePrefix(prefix)); got != netip.MustParseAddr(want) ||
			!netip.MustParsePrefix(prefix).Contains(got) {
			t.Errorf("%s: %s, want %s", prefix, got, want)
		}
	}
}
