package kernel

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	"ztbridge/policyroute"
)

// Docker sets ip_forward when it starts, and the kernel every interface's forwarding with it: an
// interface that we made forward before must not lose that when we go.
func TestSysctlOfAllInterfacesSetMeanwhile(t *testing.T) {
	for _, tt := range []struct{ name, before, meanwhile, want string }{
		{"switched on", ":",
			"echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding", "1 1"},
		{"switched off",
			"echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding",
			"echo 0 > /proc/sys/net/ipv4/ip_forward; echo 0 > /proc/sys/net/ipv6/conf/all/forwarding", "0 0"},
		{"left on",
			"echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding", ":", "1 1"},
		{"left off", ":", ":", "0 0"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			record := filepath.Join(t.TempDir(), "record.json")
			inNamespace(t, func() {
				host(t)
				sh(t, tt.before)
				forward := policyroute.State{Sysctls: []policyroute.Sysctl{
					{Key: "net/ipv4/conf/wan/forwarding",
						Value: "1"}, {Key: "net/ipv6/conf/wan/forwarding", Value: "1"},
				}}
				reach(t, open(t, record), forward)
				sh(t, tt.meanwhile)
				k := open(t, record)
				reach(t, k, forward)
				if _, err := k.Restore(context.Background()); err != nil {
					t.Error(err)
				}
				got := strings.Join(strings.Fields(sh(t,
					"cat /proc/sys/net/ipv4/conf/wan/forwarding /proc/sys/net/ipv6/conf/wan/forwarding")), " ")
				if got != tt.want {
					t.Errorf("forwarding of wan is %s afterwards, want %s", got, tt.want)
				}
			})
		})
	}
}
