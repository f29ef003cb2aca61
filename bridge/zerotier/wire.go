package zerotier

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"time"
)

// What the service sends, as far as it is used. Fields that are not named here are ignored,
// whatever their type: `localSocket` alone may exceed an int64.
type (
	nodeAnswer struct {
		Address           Address `json:"address"`
		Version           string  `json:"version"`
		Clock             int64   `json:"clock"` // ms since 1970
		Online            bool    `json:"online"`
		TCPFallbackActive bool    `json:"tcpFallbackActive"`
	}

	networkAnswer struct {
		ID                NetworkID     `json:"id"`
		Name              string        `json:"name"`
		Status            string        `json:"status"`
		Type              string        `json:"type"` // PRIVATE, PUBLIC
		MTU               int           `json:"mtu"`
		PortDeviceName    string        `json:"portDeviceName"`
		AssignedAddresses []string      `json:"assignedAddresses"`
		Routes            []routeAnswer `json:"routes"`
		AllowManaged      bool          `json:"allowManaged"`
		AllowGlobal       bool          `json:"allowGlobal"`
		AllowDefault      bool          `json:"allowDefault"`
		AllowDNS          bool          `json:"allowDNS"`
	}

	routeAnswer struct {
		Target string  `json:"target"`
		Via    *string `json:"via"`
	}

	peerAnswer struct {
		Role  string       `json:"role"` // LEAF, MOON, PLANET
		Paths []pathAnswer `json:"paths"`
	}

	pathAnswer struct {
		LastReceive int64 `json:"lastReceive"` // ms since 1970 by the service's clock; 0 = never
	}

	moonAnswer struct {
		ID    NetworkID `json:"id"` // 16 digits as well: a world's id
		Roots []struct {
			StableEndpoints []string `json:"stableEndpoints"`
		} `json:"roots"`
		Waiting bool `json:"waiting"`
	}

	// configAnswer is what the running service has read of local.conf.
	configAnswer struct {
		Settings struct {
			InterfacePrefixBlacklist []any `json:"interfacePrefixBlacklist"`
		} `json:"settings"`
	}
)

// decode reads exactly one JSON value into v. An answer that is not of v's shape fails with
// ErrUnexpected.
func decode(body []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(body))
	err := d.Decode(v)
	if mismatch := (*json.UnmarshalTypeError)(nil); errors.As(err, &mismatch) {
		return fmt.Errorf("%w: %q is a %s", ErrUnexpected, mismatch.Field, mismatch.Value)
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrUnexpected, err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return fmt.Errorf("%w: more than one JSON value", ErrUnexpected)
	}
	return nil
}

func (n networkAnswer) addrs() []netip.Prefix {
	var out []netip.Prefix
	for _, s := range n.AssignedAddresses {
		if p, err := netip.ParsePrefix(s); err == nil {
			out = append(out, p)
		}
	}
	return out
}

func (n networkAnswer) routes() []Route {
	var out []Route
	for _, r := range n.Routes {
		target, err := netip.ParsePrefix(r.Target)
		if err != nil {
			continue
		}
		route := Route{Target: target.Masked()}
		if r.Via != nil {
			if route.Via, err = netip.ParseAddr(*r.Via); err != nil {
				continue // a route whose next hop is unreadable must not pass for one on the link
			}
		}
		out = append(out, route)
	}
	return out
}

// heard returns when the peer was last heard by any path, by the service's clock; zero if never.
func (p peerAnswer) heard() time.Time {
	var last int64
	for _, path := range p.Paths {
		last = max(last, path.LastReceive)
	}
	if last == 0 {
		return time.Time{}
	}
	return time.UnixMilli(last)
}

func (p peerAnswer) upstream() bool { return p.Role == "PLANET" || p.Role == "MOON" }
