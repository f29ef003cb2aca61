package kernel

import (
	"testing"
	"time"
)

// A table counts as full for a while after it dropped packets of new connections, as long as it is
// crowded; what else the kernel drops by the same counter is no sign of it.
func TestConnTable(t *testing.T) {
	began := time.Now()
	const limit = 1000
	type look struct {
		after   time.Duration
		count   int
		dropped uint64
		want    int
	}
	for name, looks := range map[string][]look{
		"empty":                      {{0, 5, 0, 0}, {10 * time.Second, 5, 0, 0}},
		"races of a quiet host":      {{0, 5, 3, 0}, {10 * time.Second, 5, 9, 0}},
		"crowded, and drops nothing": {{0, 980, 7, 0}, {10 * time.Second, 990, 7, 0}},
		"full when first looked at":  {{0, 1000, 7, 1000}},
		"drops, then is emptied":     {{0, 950, 7, 0}, {time.Second, 960, 9, limit}, {2 * time.Second, 40, 9, 0}},
		"drops, then is just crowded": {{0, 950, 7, 0}, {time.Second, 960, 9, limit},
			{20 * time.Second, 950, 9, limit}, {fullFor + time.Second, 950, 9, 0}},
	} {
		var table connTable
		for i, l := range looks {
			if got := table.observe(began.Add(l.after), l.count, limit, l.dropped); got != l.want {
				t.Errorf("%s, look %d: %d, want %d", name, i, got, l.want)
			}
		}
	}
	var unknown connTable
	if got := unknown.observe(began, 0, 0, 0); got != 0 {
		t.Errorf("without a limit: %d", got)
	}
}

func TestDroppedPackets(t *testing.T) {
	const stats = `entries  clashres found new invalid ignore delete chainlength insert insert_failed drop early_drop icmp_error  expect_new expect_create expect_delete search_restart
00040000  00000000 00000000 00000000 00000000 00000000 00000000 00000000 00040000 00000007 00000002 00000000 00000000  00000000 00000000 00000000 00000000
00040000  00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 00000000 0000001f 00000009 00000000  00000000 00000000 00000000 00000000
`
	if got := droppedPackets(stats); got != 33 {
		t.Errorf("dropped %d packets, want 33", got)
	}
	for _, odd := range []string{"", "\n", "entries drop\n1\n", "entries\n1\n", "drop\nzz\n"} {
		if got := droppedPackets(odd); got != 0 {
			t.Errorf("%q: %d", odd, got)
		}
	}
}

// The numbers of a namespace without connections can be read.
func TestConntrackStatisticsAreThere(t *testing.T) {
	needs(t, "nft")
	inNamespace(t, func() {
		sh(t, `nft 'table inet other { chain c { type filter hook input priority 0; ct state new accept; }; }'`)
		if readNumber("net/netfilter/nf_conntrack_max") == 0 {
			t.Error("the limit cannot be read")
		}
		k := open(t, "")
		if w, err := k.HostState(Wanted{}); err != nil || w.ConntrackFull != 0 {
			t.Errorf("an empty table is full: %d, %v", w.ConntrackFull, err)
		}
	})
}
