package policyroute_test

import (
	"net/netip"
	"slices"
	"testing"

	"ztbridge/policyroute"
)

func TestNotInternet(t *testing.T) {
	closed := func(own []netip.Addr, addr string) bool {
		a := netip.MustParseAddr(addr)
		closed, open := policyroute.NotInternet(own)
		holds := func(p netip.Prefix) bool { return p.Contains(a) }
		return slices.ContainsFunc(closed, holds) && !slices.ContainsFunc(open, holds)
	}
	for _, addr := range []string{
		"0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200",
		"100.127.255.255", "127.0.0.1", "169.254.169.254", "172.16.0.1", "172.31.255.255",
		"192.0.0.1", "192.0.0.8", "192.0.0.11", "192.0.0.170", "192.0.0.192", "192.0.0.255",
		"192.0.2.1", "192.88.99.2", "192.168.255.1", "198.18.0.1", "198.19.255.255",
		"198.51.100.7", "203.0.113.9", "240.0.0.1", "255.255.255.255",
		"::", "::1", "::ffff:8.8.8.8", "64:ff9b:1::1", "100::1", "100:0:0:1::5", "2001:2::1",
		"2001:10::1", "2001:1::4", "2001:4::1", "2001:1ff::1", "2001:db8::1", "3fff::1", "5f00::1",
		"fc00::1", "fd00:c1::a9fe:a9fe", "fd20:ce::254", "fd00:42::42", "fd00:a9fe:a9fe::1",
		"fd00:ec2::254", "fe80::1", "fec0::1",
		"64:ff9b::169.254.169.254", "64:ff9b::10.0.0.1", "2002:a00:1::1", "2002:a9fe:a9fe::",
		"64:ff9b::198.18.0.1", "64:ff9b::192.0.2.1", "64:ff9b::224.0.0.1", "2002:c612:1::1",
		"2002:cb00:7109::1", "2002:efff:fffa::1", "64:ff9b::192.88.99.2",
		"64:ff9b:1::169.254.169.254", "::ffff:169.254.169.254", "::169.254.169.254",
	} {
		if !closed(nil, addr) {
			t.Errorf("%s counts as the Internet", addr)
		}
	}
	for _, addr := range []string{
		"1.1.1.1", "9.255.255.255", "11.0.0.1", "100.63.255.255", "100.128.0.1", "169.253.255.255",
		"172.15.0.1", "172.32.0.1", "192.0.0.9", "192.0.0.10", "192.0.1.1", "192.31.196.1",
		"192.52.193.1", "192.88.99.1", "192.175.48.1", "198.17.0.1", "198.20.0.1", "223.255.255.1",
		"64:ff9b::8.8.8.8", "2001:1::1", "2001:1::2", "2001:1::3", "2001:3::1", "2001:4:112::1",
		"2001:20::1", "2001:3f::1", "2001::1", "2001:200::1", "2001:4860:4860::8888",
		"2002:808:808::1", "2606:4700::1111", "2620:4f:8000::1", "2a00::1",
	} {
		if closed(nil, addr) {
			t.Errorf("%s does not count as the Internet", addr)
		}
	}
	lab := []netip.Addr{netip.MustParseAddr("198.51.100.2")}
	for _, addr := range []string{"192.0.2.77", "2001:db8:c0::77", "198.18.3.2", "203.0.113.18"} {
		if closed(lab, addr) {
			t.Errorf("%s does not count as the Internet of a laboratory", addr)
		}
	}
	if !closed(lab, "10.0.0.1") || !closed(lab, "fd00::1") {
		t.Error("private addresses count as the Internet of a laboratory")
	}
}

// Kernel and filter take each prefix once, and as it is.
func TestNotInternetIsDisjoint(t *testing.T) {
	all, _ := policyroute.NotInternet(nil)
	for i, p := range all {
		if p != p.Masked() {
			t.Errorf("%s has bits behind its length", p)
		}
		for _, q := range all[i+1:] {
			if p.Overlaps(q) {
				t.Errorf("%s overlaps %s", p, q)
			}
		}
	}
}
