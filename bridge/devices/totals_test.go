package devices

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/bridgetest"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// counting is a kernel that counted what the test says.
type counting struct {
	next kernel.Usage
	err  error
}

func (c *counting) Set([]kernel.Counted) error { return nil }

func (c *counting) Read() (kernel.Usage, error) {
	out := c.next
	c.next = kernel.Usage{}
	return out, c.err
}

func (c *counting) counts(bytes uint64, addrs ...string) {
	c.next.Addrs = map[netip.Addr]kernel.Bytes{}
	for _, a := range addrs {
		c.next.Addrs[netip.MustParseAddr(a)] = kernel.Bytes{Sent: bytes, Received: 2 * bytes}
	}
}

func newTestTotals(t *testing.T) (*testBox, *counting, *Totals) {
	w := newTestBox(t)
	w.pass()
	c := &counting{}
	totals := NewTotals(w.service.View, slog.New(slog.DiscardHandler))
	totals.accounts = c
	return w, c, totals
}

func entryOf(t *testing.T, list []api.DeviceTraffic, kind, id string) api.DeviceTraffic {
	t.Helper()
	for _, d := range list {
		if d.Kind == kind && d.ID == id {
			return d
		}
	}
	t.Errorf("%s %q is not in %+v", kind, id, list)
	return api.DeviceTraffic{}
}

// A member is one device at all of its addresses, whatever tells that they are its own; a client at
// those of both listeners; a machine behind an interface at each of its own.
func TestTotals(t *testing.T) {
	w, c, totals := newTestTotals(t)
	w.meets(w.snap.ZeroTier.Networks[0].Iface, "10.147.17.5", zerotier.MAC(home, mine))
	phone := []netip.Addr{netip.MustParseAddr("10.83.64.9"), netip.MustParseAddr("fd83::9")}
	w.snap.Clients["phone"] = phone
	w.pass()
	now := time.Unix(1_800_000_000, 0)
	c.counts(100, "10.147.17.5", zerotier.RFC4193(home, mine).Addr().String(), phone[0].String(),
		phone[1].String(), "192.168.60.7", "fd60::7", "10.147.17.99")
	c.next.Other = map[policyroute.Family]kernel.Bytes{policyroute.V6: {Sent: 7}}
	totals.Count(now)
	w.neighbours = nil // counted again while nobody answers for it
	c.counts(1, zerotier.RFC4193(home, mine).Addr().String())
	list := totals.Traffic(now.Add(time.Minute))
	both := func(n uint64) api.Traffic { return api.Traffic{Sent: n, Received: 2 * n} }
	if d := entryOf(t, list, "member", mine.String()); d.IPv4 != both(100) || d.IPv6 != both(101) ||
		d.Network != bridgetest.Network || !d.Since.Equal(now) ||
		!d.Last.Equal(now.Add(time.Minute)) {
		t.Errorf("the member: %+v", d)
	}
	if d := entryOf(t, list, "client", "phone"); d.IPv4 != both(100) || d.IPv6 != both(100) {
		t.Errorf("the client: %+v", d)
	}
	for _, a := range []string{"192.168.60.7", "fd60::7", "10.147.17.99"} {
		if d := entryOf(t, list, "address", a); d.Total() != both(100) {
			t.Errorf("%s: %+v", a, d)
		}
	}
	if d := entryOf(t, list, api.OtherDevices, ""); d.IPv6.Sent != 7 {
		t.Errorf("the others: %+v", d)
	}
	// The next run goes on from there.
	next := NewTotals(w.service.View, slog.New(slog.DiscardHandler))
	next.Resume(list)
	next.accounts = c
	c.counts(1, "192.168.60.7")
	d := entryOf(t, next.Traffic(now.Add(time.Hour)), "address", "192.168.60.7")
	if d.IPv4 != both(101) || !d.Since.Equal(now) {
		t.Errorf("after a restart: %+v", d)
	}
}

// Whoever sends from thousands of addresses fills neither memory nor the metrics, loses no byte of
// the sum, and takes no place from others: not from members, nor behind another interface.
func TestTotalsOfManyAddresses(t *testing.T) {
	w, c, totals := newTestTotals(t)
	now := time.Unix(1_800_000_000, 0)
	var many []string
	for i := range 5000 {
		many = append(many, fmt.Sprintf("fd60::%x", i+1))
	}
	c.counts(1, many...)
	totals.Count(now)
	w.meets(w.snap.ZeroTier.Networks[0].Iface, "10.147.17.5", zerotier.MAC(home, mine))
	c.counts(5, "10.147.17.5", "10.147.17.99")
	list := totals.Traffic(now.Add(time.Hour))
	if len(list) > maxByAddress+3 {
		t.Errorf("%d devices are counted one by one", len(list))
	}
	sum := uint64(0)
	for _, d := range list {
		sum += d.Total().Sent
	}
	if sum != 5010 || entryOf(t, list, "member", mine.String()).IPv4.Sent != 5 ||
		entryOf(t, list, "address", "10.147.17.99").IPv4.Sent != 5 {
		t.Errorf("%d bytes, in %+v", sum, list)
	}
	// What was silent for long makes room, and stays in the sum.
	c.counts(3, "fd60::ffff:1")
	sum = 0
	list = totals.Traffic(now.Add(maxSilence + time.Hour))
	for _, d := range list {
		sum += d.Total().Sent
	}
	if sum != 5013 || entryOf(t, list, "address", "fd60::ffff:1").IPv6.Sent != 3 {
		t.Errorf("later %d bytes, in %+v", sum, list)
	}
	c.err = errors.New("no nftables")
	if got := totals.Traffic(now.Add(maxSilence + 2*time.Hour)); len(got) != len(list) {
		t.Error("an error of the kernel loses totals")
	}
}
