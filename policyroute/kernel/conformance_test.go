package kernel

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"ztbridge/policyroute"
	"ztbridge/policyroute/policytest"
)

// target is a kernel in a namespace of its own, for the laws of policytest.
type target struct {
	thread *thread
	kernel *Kernel
}

func newTarget(t testing.TB) policytest.Target {
	t.Helper()
	tg := &target{thread: newThread(t)}
	record := filepath.Join(t.TempDir(), "record.json")
	tg.thread.do(func() {
		sh(t, `
for i in default all; do echo 1 > /proc/sys/net/ipv6/conf/$i/addr_gen_mode; done
ip link set lo up`)
		tg.kernel = open(t, record)
	})
	if tg.kernel == nil {
		t.FailNow()
	}
	for _, d := range policytest.Devices {
		tg.AddDevice(t, d)
	}
	return tg
}

func (tg *target) Observe() (s policyroute.State, err error) {
	tg.thread.do(func() { s, err = tg.kernel.Observe() })
	return s, err
}

func (tg *target) Apply(ctx context.Context, p policyroute.Plan) (err error) {
	tg.thread.do(func() { err = tg.kernel.Apply(ctx, p) })
	return err
}

func (tg *target) AddDevice(t testing.TB, name string) {
	t.Helper()
	command := fmt.Sprintf(
		"ip link add %[1]s type veth peer name p-%[1]s; ip link set %[1]s up; ip link set p-%[1]s up\n"+
			untilLinksRun, name)
	if strings.HasPrefix(name, policyroute.TunPrefix) {
		command = fmt.Sprintf("ip tuntap add dev %s mode tun", name)
	}
	tg.run(t, command)
}

func (tg *target) RemoveDevice(t testing.TB, name string) {
	t.Helper()
	tg.run(t, "ip link del "+name)
}

func (tg *target) PlantForeign(t testing.TB) {
	t.Helper()
	tg.run(t, `
ip addr add 203.0.113.2/24 dev wanlab0; ip route add default via 203.0.113.1; ip route add 0.0.0.0/1 dev wanlab0
ip rule add priority 15050 iif lo lookup main; ip rule add priority 99 lookup 23101 protocol 90
ip -6 rule add priority 15050 iif lo lookup main
ip route add 192.0.2.0/24 dev wanlab0 table 23101; ip route add 192.0.2.0/24 dev wanlab0 table 100 proto 90
nft add table inet docker; nft add chain inet docker ztb
for i in iptables ip6tables; do $i -N DOCKER-USER; $i -I FORWARD 1 -j DOCKER-USER; $i -P FORWARD DROP; done`)
}

func (tg *target) Foreign(t testing.TB) string {
	t.Helper()
	return tg.run(t, `
ip rule | sed '/^15.*proto 90/d; /^3270[012]:/d'; ip -6 rule | sed '/^15.*proto 90/d; /^3270[012]:/d'
for f in -4 -6; do ip $f route show table all | sed '/table 231.*proto 90/d; /dev tunztb/d' | sort; done
nft list table inet docker
iptables -S | sed /ZTB-/d; ip6tables -S | sed /ZTB-/d`)
}

func (tg *target) run(t testing.TB, command string) (out string) {
	t.Helper()
	tg.thread.do(func() { out = sh(t, command) })
	return out
}

func TestConformance(t *testing.T) {
	needs(t, "ip", "nft", "iptables")
	policytest.Conformance(t, newTarget)
}
