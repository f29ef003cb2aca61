package zerotier

import (
	"errors"
	"fmt"
	"strconv"
)

// ErrBadID is returned for a text that is no network id or node address.
var ErrBadID = errors.New("malformed ZeroTier id")

// NetworkID names a network: 16 hexadecimal digits, of which the first ten are its controller's
// address.
type NetworkID uint64

// ParseNetworkID reads 16 hexadecimal digits, in either case. It fails with ErrBadID.
func ParseNetworkID(s string) (NetworkID, error) {
	v, err := parseHex(s, 16)
	if err != nil {
		return 0, fmt.Errorf("parsing network id %q: %w: want 16 hexadecimal digits", s, err)
	}
	return NetworkID(v), nil
}

// String returns 16 lower-case hexadecimal digits.
func (n NetworkID) String() string { return fmt.Sprintf("%016x", uint64(n)) }

// Controller returns the address of the node that governs the network.
func (n NetworkID) Controller() Address { return Address(n >> 24) }

// MarshalText implements encoding.TextMarshaler.
func (n NetworkID) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (n *NetworkID) UnmarshalText(b []byte) error {
	v, err := ParseNetworkID(string(b))
	if err != nil {
		return err
	}
	*n = v
	return nil
}

// Address names a node: 10 hexadecimal digits, 40 bits. Zero is no node's.
type Address uint64

// ParseAddress reads 10 hexadecimal digits, in either case. It fails with ErrBadID; all zeros, and
// 0xff in the first byte, are reserved and fail too.
func ParseAddress(s string) (Address, error) {
	v, err := parseHex(s, 10)
	if err == nil && (v == 0 || v>>32 == 0xff) {
		err = ErrBadID
	}
	if err != nil {
		return 0, fmt.Errorf("parsing node address %q: %w: want 10 hexadecimal digits", s, err)
	}
	return Address(v), nil
}

// String returns 10 lower-case hexadecimal digits.
func (a Address) String() string { return fmt.Sprintf("%010x", uint64(a)) }

// MarshalText implements encoding.TextMarshaler.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText implements encoding.TextUnmarshaler.
func (a *Address) UnmarshalText(b []byte) error {
	v, err := ParseAddress(string(b))
	if err != nil {
		return err
	}
	*a = v
	return nil
}

func parseHex(s string, digits int) (uint64, error) {
	if len(s) != digits {
		return 0, ErrBadID
	}
	// ParseUint with an explicit base takes neither sign, prefix nor underscore.
	v, err := strconv.ParseUint(s, 16, 64)
	if err != nil {
		return 0, ErrBadID
	}
	return v, nil
}
