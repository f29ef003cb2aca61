package kernel

import (
	"fmt"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

// TestAccounting counts what a device sends through the box and receives, in both IP versions, to
// the byte, over a change of what is counted and after another program flushed all.
func TestAccounting(t *testing.T) {
	l := newLeakLab(t)
	needs(t, "ping")
	var a *Accounting
	want := []Counted{{"ztlab0", []netip.Prefix{netip.MustParsePrefix("10.147.17.0/24"),
		netip.MustParsePrefix("fd80:56c2:e21c::/88"), netip.MustParsePrefix("10.147.17.0/28")}}}
	l.box.do(func() { a = NewAccounting() })
	set := func(want []Counted) {
		t.Helper()
		l.box.do(func() {
			if err := a.Set(want); err != nil {
				t.Fatal(err)
			}
		})
	}
	read := func() (u Usage) {
		l.box.do(func() {
			var err error
			if u, err = a.Read(); err != nil {
				t.Error(err)
			}
		})
		return u
	}
	const packets, body = 3, 1000
	l.wan.sh(t, "ip route add 10.147.17.0/24 via 203.0.113.2; "+
		"ip -6 route add fd80:56c2:e21c::/88 via 2001:db8::2")
	ping := func() {
		t.Helper()
		l.client.sh(t, fmt.Sprintf("ping -qc %d -i 0.01 -s %d 203.0.113.1; "+
			"ping -qc %d -i 0.01 -s %d 2001:db8::1", packets, body, packets, body))
	}
	const v4, v6 = packets * (20 + 8 + body), packets * (40 + 8 + body)
	check := func(when string, times uint64) {
		t.Helper()
		u := read()
		for addr, n := range map[string]uint64{"10.147.17.50": v4, "fd80:56c2:e21c::50": v6} {
			got := u.Addrs[netip.MustParseAddr(addr)]
			if got != (Bytes{n * times, n * times}) {
				t.Errorf("%s, %s: %+v, want %d each", when, addr, got, n*times)
			}
		}
		if len(u.Addrs) > 2 || len(u.Other) > 2 || u.Other[policyroute.V4] != (Bytes{}) {
			t.Errorf("%s, of others: %+v", when, u)
		}
	}
	set(want)
	ping()
	check("counted", 1)
	set(want) // nothing to do
	ping()
	set(append(want, Counted{"tunztb.udp1194", []netip.Prefix{netip.MustParsePrefix(
		"10.9.0.0/24")}}))
	ping()
	check("over a change", 2)
	l.box.sh(t, "nft flush ruleset")
	set(want)
	ping()
	check("after a flush", 1)
	set(nil)
	if out := l.box.sh(t, "nft list tables"); out != "" {
		t.Errorf("left: %s", out)
	}
}

// TestAccountingOfManyAddresses sends from more addresses than a set has room for: the rest is
// counted together, and none twice.
func TestAccountingOfManyAddresses(t *testing.T) {
	l := newLeakLab(t)
	l.client.sh(t, "ip neigh replace 10.147.17.1 lladdr 02:00:00:00:00:02 dev zt")
	const size = 32
	var a *Accounting
	l.box.do(func() {
		a = NewAccounting()
		a.size = size
		err := a.Set([]Counted{{"ztlab0", []netip.Prefix{netip.MustParsePrefix("fd77::/64")}}})
		if err != nil {
			t.Error(err)
		}
	})
	l.box.sh(t, "ip -6 addr add fd77::1/64 dev ztlab0 nodad")
	const sources = 3 * size
	l.client.do(func() {
		for i := range sources {
			src := fmt.Sprintf("fd77::1:%x", i)
			sendRaw(t, ipv6(src, "2001:db8:1::8", 64, unix.IPPROTO_UDP, udp(999, marker)))
		}
	})
	var u Usage
	l.box.do(func() {
		var err error
		if u, err = a.Read(); err != nil {
			t.Error(err)
		}
	})
	each := uint64(40 + 8 + len(marker))
	sum := u.Other[policyroute.V6].Sent
	for addr, b := range u.Addrs {
		if b != (Bytes{Sent: each}) {
			t.Errorf("%s: %+v", addr, b)
		}
		sum += b.Sent
	}
	if len(u.Addrs) > size || len(u.Addrs) < size/2 || sum != sources*each {
		t.Errorf("%d addresses and %d bytes, want at most %d and %d", len(u.Addrs), sum,
			size, sources*each)
	}
}
