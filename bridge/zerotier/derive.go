package zerotier

import (
	"encoding/binary"
	"net/netip"
)

// RFC4193 returns a member's address in a network with v6AssignMode "rfc4193". It is a /128 inside
// a /88 of the network's own.
//
//	fd | network id (8 bytes) | 99 93 | node address (5 bytes)
func RFC4193(n NetworkID, a Address) netip.Prefix {
	var b [16]byte
	b[0] = 0xfd
	binary.BigEndian.PutUint64(b[1:], uint64(n))
	b[9], b[10] = 0x99, 0x93
	putAddress(b[11:], a)
	return netip.PrefixFrom(netip.AddrFrom16(b), 88)
}

// SixPlane returns a member's address in a network with v6AssignMode "6plane". Its length is the
// one of the network's subnet (40). All addresses of the member's /80 lead to it.
//
//	fc | network id, halves folded (4 bytes) | node address (5 bytes) | 00 … 01
func SixPlane(n NetworkID, a Address) netip.Prefix {
	var b [16]byte
	b[0] = 0xfc
	binary.BigEndian.PutUint32(b[1:], uint32(n)^uint32(n>>32))
	putAddress(b[5:], a)
	b[15] = 1
	return netip.PrefixFrom(netip.AddrFrom16(b), 40)
}

// SixPlaneMember returns the /80 that a member owns in a 6PLANE network.
func SixPlaneMember(n NetworkID, a Address) netip.Prefix {
	return netip.PrefixFrom(SixPlane(n, a).Addr(), 80).Masked()
}

func putAddress(b []byte, a Address) {
	_ = b[4]
	b[0], b[1], b[2], b[3], b[4] = byte(a>>32), byte(a>>24), byte(a>>16), byte(a>>8), byte(a)
}
