package zerotier

import "encoding/base32"

// ifaceEncoding is RFC 4648's alphabet in lower case.
var ifaceEncoding = base32.NewEncoding("abcdefghijklmnopqrstuvwxyz234567").WithPadding(base32.NoPadding)

// IfaceName returns the name that zerotier-one on Linux gives to the interface of a network: "zt" and
// eight characters that follow from the id alone. A devicemap in the service's home directory, or an
// existing interface of that name, can change it: Status tells the name in use. It fails with ErrBadID.
func IfaceName(nwid string) (string, error) {
	id, err := ParseNetworkID(nwid)
	if err != nil {
		return "", err
	}
	return id.Iface(), nil
}

// Iface is IfaceName of an id that is known to be well formed.
func (n NetworkID) Iface() string {
	// The upper 40 bits (the controller's address) folded over the lower 40.
	folded := uint64(n) ^ uint64(n)>>24
	return "zt" + ifaceEncoding.EncodeToString([]byte{
		byte(folded >> 32), byte(folded >> 24), byte(folded >> 16), byte(folded >> 8), byte(folded),
	})
}
