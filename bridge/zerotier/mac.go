package zerotier

import (
	"encoding/binary"
	"net"
)

// MAC returns the hardware address that a node has in a network. The service builds the source
// address of every frame from the node that sent it, unless that node may bridge.
//
//	local bit, from the id's last byte │ node address (5 bytes) XOR the id's bytes 6 … 2
func MAC(n NetworkID, a Address) net.HardwareAddr {
	first := byte(n)&0xfe | 0x02 // locally administered, not multicast
	if first == 0x52 {           // that of virtual machines (node/MAC.hpp, firstOctetForNetwork)
		first = 0x32
	}
	var key [8]byte
	binary.BigEndian.PutUint64(key[:], uint64(n))
	mac := net.HardwareAddr{first, 0, 0, 0, 0, 0}
	putAddress(mac[1:], a)
	for i := range 5 {
		mac[1+i] ^= key[6-i]
	}
	return mac
}

// NodeOf returns the node that has a hardware address in a network. It returns false for other
// addresses, such as of a machine behind a bridge.
func NodeOf(n NetworkID, mac net.HardwareAddr) (Address, bool) {
	if len(mac) != 6 {
		return 0, false
	}
	var a Address
	for i, b := range MAC(n, 0)[1:] {
		a = a<<8 | Address(mac[1+i]^b)
	}
	_, err := ParseAddress(a.String())
	return a, err == nil && MAC(n, a).String() == mac.String()
}
