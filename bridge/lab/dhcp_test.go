package lab

import (
	"net/netip"
	"testing"

	"github.com/gopacket/gopacket"
	"github.com/gopacket/gopacket/layers"
)

func TestLeaseAnswers(t *testing.T) {
	lease := Lease{Addr: netip.MustParsePrefix("198.51.100.2/24"),
		Router: netip.MustParseAddr("198.51.100.1"), Resolver: netip.MustParseAddr("192.0.2.53")}
	tests := []struct{ ask, want layers.DHCPMsgType }{
		{layers.DHCPMsgTypeDiscover, layers.DHCPMsgTypeOffer},
		{layers.DHCPMsgTypeRequest, layers.DHCPMsgTypeAck},
		{layers.DHCPMsgTypeRelease, layers.DHCPMsgTypeUnspecified},
		{layers.DHCPMsgTypeOffer, layers.DHCPMsgTypeUnspecified},
	}
	for _, tt := range tests {
		text := lease.answer(&layers.DHCPv4{HardwareType: layers.LinkTypeEthernet, HardwareLen: 6,
			Xid:          7,
			ClientHWAddr: []byte{2, 0, 0, 0, 0, 1}, Options: layers.DHCPOptions{
				layers.NewDHCPOption(layers.DHCPOptMessageType, []byte{byte(tt.ask)})}})
		if tt.want == layers.DHCPMsgTypeUnspecified {
			if text != nil {
				t.Errorf("%s is answered", tt.ask)
			}
			continue
		}
		var answer layers.DHCPv4
		if err := answer.DecodeFromBytes(text, gopacket.NilDecodeFeedback); err != nil {
			t.Fatalf("%s: %v", tt.ask, err)
		}
		if messageType(&answer) != tt.want || answer.Xid != 7 ||
			answer.YourClientIP.String() != "198.51.100.2" {
			t.Errorf("%s is answered by %v", tt.ask, answer)
		}
	}
}
