package services

import (
	"net"
	"testing"
	"time"

	"ztbridge/bridge/decide"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// Answers that reach clients prove a path once they have been counted twice; a path without an
// egress of our own is never answered so.
func TestAnsweredByTraffic(t *testing.T) {
	d := decide.Decision{PathClients: []decide.PathClient{
		{Key: "ours", Egress: "provider"}, {Key: "wan", Egress: "direct"}},
		Intent: policyroute.Intent{Egresses: []policyroute.Egress{
			{Name: "provider", Iface: "lo", Owned: true}, {Name: "direct", Iface: "lo"}},
			Ingresses: []policyroute.Ingress{{Iface: "lo"}, {Iface: decide.PathDevice}}}}
	p := &paths{proofs: followProofs(nil, d)}
	if p.answered("ours") {
		t.Error("answered at the first look")
	}
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for range 2 * provingPackets {
		if _, err := conn.WriteTo([]byte{0}, conn.LocalAddr()); err != nil {
			t.Fatal(err)
		}
	}
	p.proofs = followProofs(p.proofs, d)
	if !p.answered("ours") {
		t.Errorf("not answered: %+v", p.proofs["ours"])
	}
	if p.answered("wan") {
		t.Error("answered by an interface that others use")
	}
}

// What is kept of a client goes with it.
func TestPathsForgetClients(t *testing.T) {
	p := newPaths(Env{}, NewTrigger())
	for _, key := range []string{"stays", "goes"} {
		p.traced[key], p.found.Traced[key], p.found.Blocks[key] = time.Now(), true, kernel.Block{}
	}
	p.set(decide.Snapshot{}, decide.Decision{PathClients: []decide.PathClient{{Key: "stays"}}}, nil)
	st := p.status()
	if len(p.traced) != 1 || len(st.Traced) != 1 || len(st.Blocks) != 1 || !st.Traced["stays"] {
		t.Errorf("kept: %v, %+v", p.traced, st)
	}
}
