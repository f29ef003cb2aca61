package services

import (
	"net"
	"testing"

	"ztbridge/bridge/decide"
	"ztbridge/policyroute"
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
