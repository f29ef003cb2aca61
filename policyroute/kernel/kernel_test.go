package kernel

import (
	"context"
	"encoding/json"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"ztbridge/policyroute"
)

// open opens the kernel in the calling thread's namespace.
func open(t testing.TB, record string) *Kernel {
	t.Helper()
	k, err := Open(Options{RecordPath: record})
	if err != nil {
		t.Error(err)
		return nil
	}
	t.Cleanup(func() { k.Close() })
	return k
}

// host makes a box as somebody might have it, with rules, filters and sysctls of its own.
func host(t testing.TB) {
	t.Helper()
	sh(t, `
for i in default all; do echo 1 > /proc/sys/net/ipv6/conf/$i/addr_gen_mode; done # nothing comes late, after DAD
ip link set lo up
for i in wan zt1 lan; do ip link add $i type veth peer name $i.peer; ip link set $i up; ip link set $i.peer up; done
`+untilLinksRun+`ip addr add 192.0.2.2/24 dev wan
ip addr add 10.147.17.1/24 dev zt1
ip -6 addr add 2001:db8::2/64 dev wan nodad
ip route add default via 192.0.2.1
ip -6 route add default via 2001:db8::1
ip route add 172.30.0.0/16 dev lan table 23199
ip route add unreachable 172.31.0.0/16 table 40000 proto 90
ip rule add priority 15005 from 172.30.0.0/16 lookup 23199
ip rule add priority 99 from 172.29.0.0/16 lookup 23101 protocol 90
nft add table inet other
nft add chain inet other forward '{ type filter hook forward priority 0; policy drop; }'
nft add rule inet other forward ip saddr 172.16.0.0/12 accept
echo 1 > /proc/sys/net/ipv4/conf/lan/forwarding
ip tuntap add dev tunztb0 mode tun`)
}

// fingerprint is everything that must be as before after Restore.
func fingerprint(t testing.TB) string {
	t.Helper()
	return sh(t, `
ip rule; ip -6 rule; ip route show table all | sort; ip -6 route show table all | sort; nft list ruleset
{ iptables-save; ip6tables-save; } | sed 's/ \[[0-9]*:[0-9]*\]$//; /^#/d'
grep -r . /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf /proc/sys/net/ipv4/ip_forward 2>/dev/null | grep -v stable_secret | sort
ip -o addr | awk '{print $2, $4}'`)
}

// sample is a state with something of everything.
func sample() policyroute.State {
	type (
		rule  = policyroute.Rule
		route = policyroute.Route
	)
	s := policyroute.State{
		Links: []policyroute.Link{{
			Name: "tunztb0", Up: true, MTU: 1420,
			Addrs: []netip.Prefix{prefix("10.8.0.2/24"), prefix("fd00:8::2/64")},
		}},
		Nft: everyRule(),
		Sysctls: []policyroute.Sysctl{
			{Key: "net/ipv4/conf/wan/forwarding", Value: "1"},
			{Key: "net/ipv4/conf/zt1/forwarding", Value: "1"},
			{Key: "net/ipv6/conf/all/forwarding", Value: "1"},
			{Key: "net/ipv6/conf/wan/accept_ra", Value: "2"},
		},
		Rules: []rule{
			{Family: policyroute.V4, Priority: 15010, IIF: "zt1", From: prefix("10.147.17.50/32"),
				Action: policyroute.Lookup, Table: 23102},
			{Family: policyroute.V4, Priority: 15010, IIF: "zt1", Action: policyroute.Lookup,
				Table: 23102},
			{Family: policyroute.V4, Priority: 15011, To: prefix("10.0.0.0/8"), Proto: "udp",
				DstPort: 53, Action: policyroute.Lookup, Table: 23102},
			{Family: policyroute.V4, Priority: 15020, IIF: "zt1", Action: policyroute.Goto,
				Target: 15900},
			{Family: policyroute.V4, Priority: 15900, IIF: "zt1", Action: policyroute.Unreachable},
			{Family: policyroute.V4, Priority: 15920, From: prefix("198.51.100.2/32"), Proto: "tcp",
				SrcPort: 443, Action: policyroute.Lookup, Table: 254, MinBits: 1},
			{Family: policyroute.V4, Priority: 15921, From: prefix("198.51.100.2/32"), Proto: "tcp",
				SrcPort: 443, Action: policyroute.Lookup, Table: 23199},
			{Family: policyroute.V4, Priority: 15950, Mark: 0x5a540000, Action: policyroute.Lookup,
				Table: 23160},
			{Family: policyroute.V6, Priority: 15010, IIF: "zt1", From: prefix("fd00::/64"),
				Action: policyroute.Lookup, Table: 23102},
			{Family: policyroute.V6, Priority: 15900, IIF: "zt1", Action: policyroute.Unreachable},
			{Family: policyroute.V6, Priority: 15920, From: prefix("2001:db8::2/128"), Proto: "udp",
				SrcPort: 1194, Action: policyroute.Lookup, Table: 254, MinBits: 1},
		},
		Routes: []route{
			{Family: policyroute.V4, Table: 23100, Dst: prefix("10.147.17.0/24"), Metric: 100,
				Dev: "zt1"},
			{Family: policyroute.V4, Table: 23102, Dst: prefix("0.0.0.0/0"), Metric: 100,
				Dev: "tunztb0"},
			{Family: policyroute.V4, Table: 23102, Dst: prefix("0.0.0.0/0"), Metric: 4294967295,
				Type: policyroute.UnreachableRoute},
			{Family: policyroute.V4, Table: 23160, Dst: prefix("0.0.0.0/0"), Metric: 100,
				Dev: "wan", Gateway: addr("198.51.100.1")},
			{Family: policyroute.V6, Table: 23102, Dst: prefix("::/0"), Metric: 100,
				Dev: "tunztb0"},
			{Family: policyroute.V6, Table: 23102, Dst: prefix("::/0"), Metric: 4294967295,
				Type: policyroute.UnreachableRoute},
			{Family: policyroute.V6, Table: 23160, Dst: prefix("::/0"), Metric: 100, Dev: "wan",
				Gateway: addr("fe80::1")},
		},
	}
	for _, f := range policyroute.Families {
		s.IPTables = append(s.IPTables,
			policyroute.Chain{Family: f, Name: policyroute.ChainForward, Parent: "FORWARD",
				Rules: []string{
					"-i zt1 -o tunztb0 -j ACCEPT",
					"-i tunztb0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"}},
			policyroute.Chain{Family: f, Name: policyroute.ChainInput, Parent: "INPUT",
				Rules: []string{
					"-p tcp -m tcp --dport 443 -j ACCEPT"}})
	}
	return s
}

// reach applies what is missing and expects that nothing is missing then.
func reach(t testing.TB, k *Kernel, want policyroute.State) {
	t.Helper()
	if err := attempt(t, k, want); err != nil {
		t.Error(err)
		return
	}
	reached(t, k, want)
}

// attempt applies what is missing and returns what Apply says.
func attempt(t testing.TB, k *Kernel, want policyroute.State) error {
	t.Helper()
	have, err := k.Observe()
	if err != nil {
		t.Error(err)
		return err
	}
	return k.Apply(context.Background(), policyroute.Diff(have, want))
}

func reached(t testing.TB, k *Kernel, want policyroute.State) {
	t.Helper()
	have, err := k.Observe()
	if err != nil {
		t.Error(err)
		return
	}
	if plan := policyroute.Diff(have, want); !plan.Empty() {
		t.Errorf("still to be done:\n%s", plan)
	}
}

func TestApplyObserveRestore(t *testing.T) {
	needs(t, "ip", "nft", "iptables")
	record := filepath.Join(t.TempDir(), "record.json")
	inNamespace(t, func() {
		host(t)
		before := fingerprint(t)
		k := open(t, record)
		reached(t, k, policyroute.State{}) // nothing of the host's is taken for ours
		reach(t, k, sample())
		main := sh(t, "ip route; ip -6 route | grep -v ^fe80")
		if strings.Contains(main, "10.8.0") || strings.Contains(main, "fd00:8") {
			t.Errorf("an address brought a route into main:\n%s", main)
		}

		k2 := open(t, record) // a daemon that starts again
		reached(t, k2, sample())
		if _, err := k2.Restore(context.Background()); err != nil {
			t.Error(err)
		}
		sh(t, "ip link set tunztb0 down mtu 1500")
		if diff := cmp.Diff(before, fingerprint(t)); diff != "" {
			t.Errorf("after Restore (-before +after):\n%s", diff)
		}
		if _, err := os.Stat(record); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("the record is still there: %v", err)
		}
		if plan, err := k2.Restore(context.Background()); err != nil || !plan.Empty() {
			t.Errorf("Restore again: %v, %s", err, plan)
		}
	})
}

// Whatever iptables rules are added while we run stay when we go, with what they stand in.
func TestRestoreLeavesWhatOthersAddedMeanwhile(t *testing.T) {
	needs(t, "iptables", "nft")
	record := filepath.Join(t.TempDir(), "record.json")
	inNamespace(t, func() {
		host(t)
		k := open(t, record)
		reach(t, k, sample())
		sh(t,
			"iptables -A FORWARD -s 172.16.0.0/12 -j ACCEPT; ip6tables -P INPUT DROP; iptables -I FORWARD 1 -j ZTB-FORWARD")
		if _, err := k.Restore(context.Background()); err != nil {
			t.Error(err)
		}
		want := "-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT\n-A FORWARD -s 172.16.0.0/12 -j ACCEPT\n" +
			"-P INPUT DROP\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT"
		if diff := cmp.Diff(want, sh(t, "iptables -S; ip6tables -S")); diff != "" {
			t.Errorf("iptables -S (-want +have):\n%s", diff)
		}
	})
}

func TestForeignChangesAreUndone(t *testing.T) {
	needs(t, "ip", "nft", "iptables")
	tests := []struct{ name, command string }{
		{"rule deleted", "ip rule del priority 15900"},
		{"rules flushed",
			"ip rule flush; ip -6 rule flush; ip rule add priority 32766 lookup main"},
		{"route deleted", "ip route del default metric 100 table 23102"},
		{"route replaced", "ip route replace default dev wan metric 100 table 23102 proto 90"},
		{"refusal deleted", "ip -6 route del unreachable default metric 4294967295 table 23102"},
		{"ruleset flushed", "nft flush ruleset"},
		{"FORWARD flushed", "iptables -F FORWARD"},
		{"jump pushed down", "iptables -I FORWARD 1 -j DROP"},
		{"jump doubled", "iptables -A FORWARD -j ZTB-FORWARD"},
		{"chain filled", "ip6tables -A ZTB-INPUT -j DROP"},
		{"chain emptied", "iptables -F ZTB-FORWARD"},
		{"sysctl changed", "echo 0 > /proc/sys/net/ipv4/conf/zt1/forwarding"},
		{"address removed", "ip addr del 10.8.0.2/24 dev tunztb0"},
		{"address added", "ip addr add 10.9.0.2/24 dev tunztb0"},
		{"link down", "ip link set tunztb0 down"},
		{"MTU changed", "ip link set tunztb0 mtu 1300"},
	}
	record := filepath.Join(t.TempDir(), "record.json")
	inNamespace(t, func() {
		host(t)
		k := open(t, record)
		reach(t, k, sample())
		for _, tt := range tests {
			sh(t, tt.command)
			have, err := k.Observe()
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
				continue
			}
			if policyroute.Diff(have, sample()).Empty() {
				t.Errorf("%s: does not show", tt.name)
			}
			reach(t, k, sample())
			if t.Failed() {
				t.Errorf("after: %s", tt.name)
				return
			}
		}
	})
}

// A plan that stops anywhere is finished by the next one, also by a daemon that starts again.
func TestCrashAtEveryOperation(t *testing.T) {
	needs(t, "ip", "nft", "iptables")
	dir := t.TempDir()
	inNamespace(t, func() {
		host(t)
		before := fingerprint(t)
		record := filepath.Join(dir, "record.json")
		have, err := open(t, record).Observe()
		if err != nil {
			t.Error(err)
		}
		full := policyroute.Diff(have, sample())
		for i := range full.Ops {
			k := open(t, record)
			if err := k.Apply(context.Background(),
				policyroute.Plan{Ops: full.Ops[:i]}); err != nil {
				t.Error(err)
			}
			if i%5 == 0 {
				reach(t, open(t, record), sample())
			}
			if _, err := open(t, record).Restore(context.Background()); err != nil {
				t.Error(err)
			}
			sh(t, "ip link set tunztb0 down mtu 1500")
			if diff := cmp.Diff(before, fingerprint(t)); diff != "" {
				t.Errorf("after %d operations and Restore (-before +after):\n%s", i, diff)
				return
			}
		}
	})
}

func TestRecordKeepsOriginals(t *testing.T) {
	record := filepath.Join(t.TempDir(), "record.json")
	inNamespace(t, func() {
		host(t)
		const key = "net/ipv4/conf/wan/forwarding"
		set := func(k *Kernel, value string) {
			err := k.Apply(context.Background(), policyroute.Plan{Ops: []policyroute.Op{
				policyroute.SetSysctl{Sysctl: policyroute.Sysctl{Key: key, Value: value}},
				policyroute.SetSysctl{
					Sysctl: policyroute.Sysctl{Key: "net/ipv4/conf/nosuch/forwarding",
						Value: value}},
			}})
			if err != nil {
				t.Error(err)
			}
		}
		set(open(t, record), "1")
		// a second start finds our value and must not take it for the original
		set(open(t, record), "1")
		var data recordData
		text, err := os.ReadFile(record)
		if err != nil || json.Unmarshal(text, &data) != nil {
			t.Errorf("reading the record: %v", err)
			return
		}
		if len(data.Sysctls) != 1 || data.Sysctls[0].Value != "0" {
			t.Errorf("record is %+v, want the original 0", data.Sysctls)
		}
		if err := open(t, "").Apply(context.Background(), policyroute.Plan{Ops: []policyroute.Op{
			policyroute.SetSysctl{Sysctl: policyroute.Sysctl{Key: "net/ipv4/conf/zt1/forwarding",
				Value: "1"}},
		}}); err == nil {
			t.Error("wrote a sysctl with no record of what it was")
		}
	})
	inNamespace(t, func() { // as after a reboot
		host(t)
		reached(t, open(t, record), policyroute.State{})
	})
}

// Writing all/forwarding rewrites every interface's: in whatever order the two are put back, each
// interface ends as it began.
func TestSysctlOfAllInterfaces(t *testing.T) {
	for _, order := range [][]string{
		{"net/ipv4/conf/all/forwarding", "net/ipv4/conf/lan/forwarding",
			"net/ipv4/conf/wan/forwarding"},
		{"net/ipv4/conf/wan/forwarding", "net/ipv4/conf/lan/forwarding",
			"net/ipv4/conf/all/forwarding"},
	} {
		record := filepath.Join(t.TempDir(), "record.json")
		inNamespace(t, func() {
			host(t)
			before := fingerprint(t)
			k := open(t, record)
			var set, back policyroute.Plan
			for i := range order {
				set.Ops = append(set.Ops,
					policyroute.SetSysctl{Sysctl: policyroute.Sysctl{Key: order[i], Value: "1"}})
				back.Ops = append(back.Ops, policyroute.RestoreSysctl{Key: order[i]})
			}
			for _, plan := range []policyroute.Plan{set, back} {
				if err := k.Apply(context.Background(), plan); err != nil {
					t.Error(err)
				}
			}
			if diff := cmp.Diff(before, fingerprint(t)); diff != "" {
				t.Errorf("put back in order %v (-before +after):\n%s", order, diff)
			}
		})
	}
}

func TestHostWithoutIPTables(t *testing.T) {
	needs(t, "iptables", "ip6tables")
	path := os.Getenv("PATH")
	t.Setenv("PATH", t.TempDir())
	record := filepath.Join(t.TempDir(), "record.json")
	inNamespace(t, func() {
		k := open(t, record)
		want := policyroute.State{IPTables: sample().IPTables, Nft: everyRule()}
		err := k.Apply(context.Background(), policyroute.Diff(policyroute.State{}, want))
		if !errors.Is(err, ErrNoIPTables) {
			t.Errorf("Apply: %v, want ErrNoIPTables", err)
		}
		have, err := k.Observe()
		if err != nil {
			t.Error(err)
		}
		if have.Nft.String() != want.Nft.String() || have.IPTables != nil {
			t.Errorf("have %d chains and this table:\n%s", len(have.IPTables), have.Nft)
		}
		absent := []policyroute.Unseen{{Family: policyroute.V4}, {Family: policyroute.V6}}
		if diff := cmp.Diff(absent, have.Unseen); diff != "" {
			t.Errorf("unseen (-want +have):\n%s", diff)
		}
		reached(t, k, want)
		t.Setenv("PATH", path) // somebody has installed it
		if have, err := k.Observe(); err != nil || have.Unseen != nil {
			t.Errorf("with iptables, %v is unseen, %v", have.Unseen, err)
		}
		reach(t, k, want)
		if _, err := k.Restore(context.Background()); err != nil {
			t.Error(err)
		}
	})
}

// The legacy variant announces nothing, so its chains are read every time.
func TestLegacyIPTables(t *testing.T) {
	legacy(t)
	record := filepath.Join(t.TempDir(), "record.json")
	inNamespace(t, func() {
		host(t)
		sh(t, "iptables -A FORWARD -j DROP; ip6tables -S")
		before := fingerprint(t)
		k := open(t, record)
		reach(t, k, sample())
		sh(t, "iptables -F FORWARD")
		have, err := k.Observe()
		if err != nil || policyroute.Diff(have, sample()).Empty() {
			t.Errorf("a flushed chain does not show: %v", err)
		}
		reach(t, k, sample())
		sh(t, "iptables -A FORWARD -j DROP")
		if _, err := k.Restore(context.Background()); err != nil {
			t.Error(err)
		}
		sh(t, "ip link set tunztb0 down mtu 1500")
		if diff := cmp.Diff(before, fingerprint(t)); diff != "" {
			t.Errorf("after Restore (-before +after):\n%s", diff)
		}
	})
}
