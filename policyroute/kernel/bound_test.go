package kernel

import (
	"net/netip"
	"strings"
	"testing"

	"ztbridge/policyroute"
	"ztbridge/policyroute/policytest"
)

// TestBoundAddresses: from a bound address only its owner's frames pass, whatever they are for.
func TestBoundAddresses(t *testing.T) {
	l := newLeakLab(t)
	const mac = "02:00:00:00:00:03"
	l.client.sh(t, "ip link set zt address "+mac)
	intent := func(owner string) policyroute.Intent {
		in := policytest.Exit()
		in.Egresses[0].NAT6 = policyroute.NAT{}
		if owner == "" {
			return in
		}
		for _, p := range []string{"10.147.17.50/32", "fd80:56c2:e21c::50/128"} {
			in.Ingresses[0].Bound = append(in.Ingresses[0].Bound,
				policyroute.Binding{Prefix: netip.MustParsePrefix(p), MAC: owner})
		}
		return in
	}
	for _, tt := range []struct {
		name, owner string
		passes      bool
	}{{"not bound", "", true}, {"its own", mac, true}, {"another's", "02:00:00:00:00:99", false}} {
		state, err := policyroute.Compile(intent(tt.owner))
		if err != nil {
			t.Fatal(err)
		}
		l.bring(t, state)
		l.box.sh(t, "conntrack -F 2>/dev/null")
		pings := 0
		for _, to := range []string{"10.147.17.1", "fd80:56c2:e21c::1"} {
			if !strings.Contains(l.client.sh(t, "ping -c1 -W1 "+to+" || echo dead"), "dead") {
				pings++
			}
		}
		if got := l.leaked(t) > 0; got != tt.passes || (pings == 2) != tt.passes ||
			!tt.passes && pings > 0 {
			t.Errorf("%s: packets get out: %t, and %d of 2 pings are answered", tt.name, got, pings)
		}
		var have policyroute.State
		l.box.do(func() { have, err = l.kernel.Observe() })
		if err != nil || !policyroute.Diff(have, state).Empty() {
			t.Errorf("%s: what was written is not read back: %v %s", tt.name, err,
				policyroute.Diff(have, state))
		}
	}
}
