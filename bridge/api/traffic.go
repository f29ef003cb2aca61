package api

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// OtherDevices is the Kind of the entry in which devices are counted together that have none of
// their own: those whose addresses are too many to tell apart.
const OtherDevices = "other"

// DeviceTraffic is what a device sent and received through this box since it was first counted.
type DeviceTraffic struct {
	Kind    string `json:"kind"`         // "member", "client", "address", "other"
	ID      string `json:"id,omitempty"` // ZeroTier address, client's name, or IP address
	Network string `json:"network,omitempty"`
	Name    string `json:"name"` // for people; the ID where there is none
	// Ingress is where it entered last.
	Ingress string    `json:"ingress,omitempty"`
	IPv4    Traffic   `json:"ipv4"`
	IPv6    Traffic   `json:"ipv6"`
	Since   time.Time `json:"since"`
	Last    time.Time `json:"last"` // when something of it was counted
}

// Traffic are the bytes of IP packets, headers included, as the device sees the directions.
type Traffic struct {
	Sent     uint64 `json:"sent"`
	Received uint64 `json:"received"`
}

// Total returns both IP versions together.
func (d DeviceTraffic) Total() Traffic {
	return Traffic{d.IPv4.Sent + d.IPv6.Sent, d.IPv4.Received + d.IPv6.Received}
}

// String returns the traffic as people read it: "sent 1.0 MiB, received 2.0 GiB".
func (t Traffic) String() string {
	return fmt.Sprintf("sent %s, received %s", size(t.Sent), size(t.Received))
}

// TrafficOf returns the entry of a device, by Kind, ID and Network; false if it has none.
func TrafficOf(list []DeviceTraffic, d Identity) (DeviceTraffic, bool) {
	i := slices.IndexFunc(list, func(t DeviceTraffic) bool {
		return t.Kind == d.Kind && t.ID == d.ID && t.Network == d.Network
	})
	if i < 0 {
		return DeviceTraffic{}, false
	}
	return list[i], true
}

// ByTraffic returns the list with the busiest device first and OtherDevices last.
func ByTraffic(list []DeviceTraffic) []DeviceTraffic {
	out := slices.Clone(list)
	slices.SortStableFunc(out, func(a, b DeviceTraffic) int {
		x, y := a.Total(), b.Total()
		switch other := OtherDevices; {
		case a.Kind == other && b.Kind != other:
			return 1
		case a.Kind != other && b.Kind == other:
			return -1
		}
		return cmp.Or(cmp.Compare(y.Sent+y.Received, x.Sent+x.Received), cmp.Compare(a.ID, b.ID))
	})
	return out
}

// words says in one line what a device sent and received.
func (d DeviceTraffic) words(age func(time.Time) string) string {
	name := d.Name
	if d.ID != "" && d.ID != d.Name {
		name += " (" + d.ID + ")"
	}
	if d.Ingress != "" {
		name += " by " + d.Ingress
	}
	text := fmt.Sprintf("%s: %s in %s", name, d.Total(), age(d.Since))
	if six := d.IPv6.Sent + d.IPv6.Received; six > 0 {
		text += fmt.Sprintf(", %s of it IPv6", size(six))
	}
	return fmt.Sprintf("%s, last %s ago", text, age(d.Last))
}
