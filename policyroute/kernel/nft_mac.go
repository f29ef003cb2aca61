package kernel

import (
	"net"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// fromEther matches Ethernet frames and loads the hardware address that they come from.
func fromEther() []expr.Any {
	return []expr.Any{
		meta(expr.MetaKeyIIFTYPE), eq(binaryutil.NativeEndian.PutUint16(unix.ARPHRD_ETHER)),
		payload(expr.PayloadBaseLLHeader, offSrcMAC, 6),
	}
}

// notFrom matches Ethernet frames from another hardware address.
func notFrom(mac net.HardwareAddr) []expr.Any {
	return append(fromEther(), &expr.Cmp{Op: expr.CmpOpNeq, Register: reg, Data: mac})
}

// hardware reads a match of the hardware address, which begins with the type of the interface.
func (d *decoder) hardware() bool {
	if len(d.in) < 3 {
		return false
	}
	if _, ok := d.in[2].(*expr.Dynset); ok && d.rule.Family == 0 {
		return d.exactly(fromEther()[1:]) && d.over()
	}
	cmp, ok := d.in[2].(*expr.Cmp)
	if !ok || len(cmp.Data) != 6 {
		return false
	}
	d.rule.NotSrcMAC = net.HardwareAddr(cmp.Data).String()
	return d.exactly(notFrom(cmp.Data)[1:])
}
