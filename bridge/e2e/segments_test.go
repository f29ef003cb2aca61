package e2e

import (
	"context"
	"encoding/binary"
	"testing"

	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// segment is what one TCP segment carries on Ethernet, with time stamps. The lab's own wires carry
// several at once, which the card of a real machine takes apart.
const segment = 1500 - 20 - 32

// TestTunnelOverTCPFillsSegments uploads through a tunnel over TCP. What a record takes beyond one
// segment leaves at once in a segment of its own, since nothing may be delayed: then every packet
// costs two.
func TestTunnelOverTCPFillsSegments(t *testing.T) {
	t.Parallel()
	netlab.Require(t, netlab.IPerf3)
	top := standard(t, lab.Options{
		Providers: []lab.ProviderOptions{{Protos: []lab.Proto{lab.OverTCP}}}})
	bridged(t, top, gatewayConfig)
	var large, scraps int
	capture, err := top.Box.Capture(lab.WANIface, func(p netlab.Packet) bool {
		if !p.Outgoing || p.Proto != "tcp" || p.Dst != top.Providers[0].Public4[0] {
			return false
		}
		n := tcpPayload(p.Data)
		if n > segment/2 {
			large++
		}
		scrap := n%segment > 0 && n%segment < 30 // less than the smallest record
		if scrap {
			scraps++
		}
		return scrap
	})
	must(t, err)
	// Slow enough for each record to be a write of its own.
	client, _ := upload(t, top, "-b 20M -t 2")
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	must(t, client.Wait(ctx))
	must(t, capture.Stop())
	result, err := capture.Result()
	must(t, err)
	t.Logf("%d large segments, %d scraps", large, scraps)
	if large < 1000 || scraps > large/20 {
		t.Errorf("%d large segments and %d scraps: %v", large, scraps, result)
	}
}

// tcpPayload returns how many bytes of data an Ethernet frame with TCP over IPv4 carries.
func tcpPayload(frame []byte) int {
	const ethernet = 14
	ip := frame[ethernet:]
	headers := int(ip[0]&15) * 4
	return int(binary.BigEndian.Uint16(ip[2:])) - headers - int(ip[headers+12]>>4)*4
}
