package e2e

import (
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// TestExitNodeBehindARouter stands the box in a private network, as at home, and has the kernel
// check the reverse path of what it receives, as Ubuntu does. Its clients hear what the router says
// about their packets, and do not reach it.
func TestExitNodeBehindARouter(t *testing.T) {
	t.Parallel()
	top := standard(t, lab.Options{})
	const gateway = "192.168.7.1"
	must(t, top.Router.IP("addr add "+gateway+"/24 dev wan"))
	must(t, top.Box.IP("addr add 192.168.7.2/24 dev "+lab.WANIface,
		"route replace default via "+gateway))
	b := newBox(t, top.Box)
	b.write("ztbridge.yaml",
		"ingress: [ing0]\negress: {direct: {wan: {}}}\npolicy: [{egress: [direct]}]\nprobe: {targets: [192.0.2.10]}\n")
	b.start()
	b.await("the way out", func(st api.Status) bool {
		return len(st.Egresses) == 1 &&
			st.Egresses[0].Usable
	})
	reached, err := top.Box.Capture(lab.WANIface, netlab.Carrying(top.Marker))
	must(t, err)
	client, err := top.Client.Dial(t.Context(), "udp4", gateway+":9999")
	must(t, err)
	defer client.Close()
	for _, strictness := range []string{"2", "1"} {
		must(t, top.Box.Sysctl("net/ipv4/conf/"+lab.WANIface+"/rp_filter="+strictness))
		for deadline := time.Now().Add(10 * time.Second); ; {
			out, _ := top.Client.Run(t.Context(), "ping", "-c1", "-W1", "-t2",
				lab.ClientTarget4.String())
			if strings.Contains(out, gateway) && strings.Contains(out, "exceeded") {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("with rp_filter %s a client does not hear the router's errors: %s",
					strictness, out)
			}
		}
		for range 3 {
			// what the box says about the last one may come back
			_, _ = client.Write([]byte(top.Marker))
		}
		if out, err := top.Client.Run(t.Context(), "ping", "-c1", "-W1", gateway); err == nil {
			t.Errorf("a client reaches the box's router: %s", out)
		}
	}
	must(t, reached.Stop())
	result, err := reached.Result()
	must(t, err)
	if result.Matched > 0 {
		t.Errorf("out of the box went %v", result)
	}
}
