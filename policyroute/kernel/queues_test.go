package kernel

import (
	"errors"
	"strings"
	"testing"

	"github.com/vishvananda/netlink/nl"
)

// TestQueueMessages: what is set is listed, by a queue that every kernel has, and is taken away by
// its handle alone.
func TestQueueMessages(t *testing.T) {
	th := newThread(t)
	th.sh(t, "ip link add wan0 type veth peer name far0; ip link set wan0 up")
	th.do(func() {
		k, err := Open(Options{RecordPath: t.TempDir() + "/record"})
		if err != nil {
			t.Error(err)
			return
		}
		defer k.Close()
		link, err := k.rtnl.LinkByName("wan0")
		if err != nil {
			t.Error(err)
			return
		}
		index := link.Attrs().Index
		root := func() queue {
			t.Helper()
			roots, err := k.rootQueues()
			if err != nil {
				t.Error(err)
			}
			return roots[index]
		}
		before := root()
		if err := k.setQueue(index, "bfifo", queueHandle, nil); err != nil {
			t.Error(err)
		}
		if got := root(); got.kind != "bfifo" || got.handle != queueHandle {
			t.Errorf("set: %+v", got)
		}
		for range 2 {
			if err := k.removeQueue(index); err != nil {
				t.Error(err)
			}
		}
		if got := root(); got != before {
			t.Errorf("removed: %+v, before %+v", got, before)
		}
		if err := k.setQueue(index, "nosuch", 0, nil); !errors.Is(err, ErrNoQueue) {
			t.Errorf("a queue that there is not: %v", err)
		}
	})
	// Fifty Mbit/s as sch_cake reports them.
	options := append([]byte{12, 0, cakeBaseRate, 0}, nl.Uint64Attr(50e6/8)...)
	if got := cakeRate(options); got != 50e6/8 {
		t.Errorf("rate %d", got)
	}
}

// TestQueues: our TUN devices have fq_codel and a WAN is shaped, whoever changes that; what another
// program set on a WAN stays, and so does all else.
func TestQueues(t *testing.T) {
	th := newThread(t)
	var k *Kernel
	var err error
	th.do(func() { k, err = Open(Options{RecordPath: t.TempDir() + "/record"}) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = k.Close() })
	set := func(shape map[string]uint64) (err error) {
		th.do(func() { err = k.SetQueues(shape) })
		return err
	}
	root := func(device string) string {
		return strings.Fields(th.sh(t, "tc qdisc show dev "+device+" root"))[1]
	}
	th.sh(t, `ip tuntap add tunztbq mode tun; ip link set tunztbq up
		ip link add wan0 type veth peer name far0; ip link set wan0 up; ip link set far0 up
		ip link add lan0 type veth peer name far1; ip link set lan0 up`)
	before := root("lan0")
	wan := map[string]uint64{"wan0": 50e6}
	err = set(wan)
	if errors.Is(err, ErrNoQueue) {
		// Said for each, and nothing else comes of it.
		if !strings.Contains(err.Error(), "tunztbq") || !strings.Contains(err.Error(), "wan0") {
			t.Errorf("%v", err)
		}
		t.Skipf("SKIPPED: needs the kernel's sch_fq_codel and sch_cake: %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	check := func(when string) {
		t.Helper()
		if got := root("tunztbq"); got != fqCoDel {
			t.Errorf("%s: the tunnel has %s", when, got)
		}
		if got := th.sh(t, "tc qdisc show dev wan0 root"); !strings.HasPrefix(got,
			"qdisc cake 5a54: root") || !strings.Contains(got, "50Mbit") {
			t.Errorf("%s: the WAN has %s", when, got)
		}
		if got := root("lan0"); got != before {
			t.Errorf("%s: the LAN has %s, before %s", when, got, before)
		}
	}
	check("at first")
	text := th.sh(t, "tc qdisc show")
	if err := set(wan); err != nil || th.sh(t, "tc qdisc show") != text {
		t.Errorf("once more: %v", err)
	}
	check("once more")
	th.sh(t, "tc qdisc replace dev tunztbq root pfifo; tc qdisc del dev wan0 root")
	if err := set(wan); err != nil {
		t.Error(err)
	}
	check("after somebody changed it")
	if err := set(map[string]uint64{"wan0": 10e6}); err != nil {
		t.Error(err)
	}
	if got := th.sh(t, "tc qdisc show dev wan0 root"); !strings.Contains(got, "10Mbit") {
		t.Errorf("another rate: %s", got)
	}
	// Another program's queue is not ours to take.
	th.sh(t, "tc qdisc replace dev lan0 root handle 7: pfifo")
	if err := set(map[string]uint64{"wan0": 50e6, "lan0": 1e6}); !errors.Is(err, ErrQueueTaken) {
		t.Errorf("a queue of another program: %v", err)
	}
	check2 := root("lan0")
	if check2 != "pfifo" {
		t.Errorf("another program's queue became %s", check2)
	}
	th.sh(t, "tc qdisc del dev lan0 root")
	th.do(func() { _, err = k.Restore(t.Context()) })
	if err != nil {
		t.Error(err)
	}
	if got := root("wan0"); got != before {
		t.Errorf("after down the WAN has %s, before %s", got, before)
	}
	if err := set(map[string]uint64{"nosuch0": 1e6}); err == nil ||
		!strings.Contains(err.Error(), "nosuch0") {
		t.Errorf("an interface that is not there: %v", err)
	}
}
