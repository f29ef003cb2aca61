package pathcheck

import "encoding/binary"

// A server answers a QUIC packet of a version that it does not speak with a list of those that it
// does, and keeps nothing of it (RFC 8999, sections 5 and 6; RFC 9000, section 6).
const (
	// quicSize is how large a packet must be to be answered (RFC 9000, section 14.1).
	quicSize = 1200
	// quicVersion is one of those that no server ever speaks (RFC 9000, section 15).
	quicVersion = 0x1a2a3a4a
	quicLong    = 0x80 // the bit of a long header
	quicBit     = 0x40 // set in every packet of versions 1 and 2
	quicID      = 8    // bytes of a connection id
	// quicTo is where the receiver's connection id begins, behind its length.
	quicTo = 6
)

// quic returns the packet. Both its connection ids begin with the probe's.
func (p probe) quic() []byte {
	b := make([]byte, quicSize)
	b[0] = quicLong | quicBit
	binary.BigEndian.PutUint32(b[1:], quicVersion)
	for _, at := range []int{quicTo, quicTo + quicID + 1} {
		b[at-1] = quicID
		binary.BigEndian.PutUint16(b[at:], p.id)
	}
	return b
}

// quic reads a list of versions.
func (a answer) quic(b []byte) (answer, bool) {
	if len(b) < quicTo+quicID || b[0]&quicLong == 0 || binary.BigEndian.Uint32(b[1:]) != 0 ||
		b[quicTo-1] != quicID {
		return a, false
	}
	a.id = binary.BigEndian.Uint16(b[quicTo:])
	return a, true
}
