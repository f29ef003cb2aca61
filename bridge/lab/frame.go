package lab

import (
	"crypto/rand"
	"encoding/binary"
	"net/netip"
	"strings"
)

const (
	markerLen = 16
	frameLen  = markerLen + 8 + 16 + 24 // marker, sequence number, source as observed, padding
)

// NewMarker returns a random text that marks the packets of one source. It survives in DNS names.
func NewMarker() string {
	return strings.ToLower(rand.Text()[:markerLen])
}

// frame is the payload of a stream's packet. The echo server fills in the address it came from.
type frame struct {
	marker   string
	seq      uint64
	observed netip.Addr
}

func (f frame) marshal() []byte {
	b := make([]byte, frameLen)
	copy(b, f.marker)
	binary.BigEndian.PutUint64(b[markerLen:], f.seq)
	if f.observed.IsValid() {
		a := f.observed.As16()
		copy(b[markerLen+8:], a[:])
	}
	return b
}

// parseFrame reads a frame; false if b is not one. The observed address of a request is invalid.
func parseFrame(b []byte) (frame, bool) {
	if len(b) != frameLen {
		return frame{}, false
	}
	f := frame{marker: string(b[:markerLen]), seq: binary.BigEndian.Uint64(b[markerLen:])}
	observed := netip.AddrFrom16([16]byte(b[markerLen+8:])).Unmap()
	if !observed.IsUnspecified() {
		f.observed = observed
	}
	return f, true
}
