package history

import (
	"os"
	"slices"
	"testing"
	"time"

	"ztbridge/bridge/api"
)

// Totals outlive the daemon, those of a device that is no more do not, and what did not change is
// not written again.
func TestDevices(t *testing.T) {
	s := newStore(t)
	status := carried(noon, 0, 0)
	one := api.DeviceTraffic{Kind: "member", ID: "89e92ceee5", Network: "8056c2e21c000001",
		Name: "laptop", IPv4: api.Traffic{Sent: 1, Received: 1 << 63}, Since: noon, Last: noon}
	gone := api.DeviceTraffic{Kind: "address", ID: "fd60::7", Since: noon, Last: noon}
	status.Traffic = []api.DeviceTraffic{gone, one}
	read := func() []api.DeviceTraffic {
		t.Helper()
		list, err := New(s.path, s.log).Devices()
		if err != nil {
			t.Fatal(err)
		}
		return list
	}
	if got := read(); got != nil {
		t.Errorf("before: %+v", got)
	}
	s.Observe(status)
	flush(t, s, noon)
	if got := read(); !slices.Equal(got, status.Traffic) {
		t.Errorf("written %+v, want %+v", got, status.Traffic)
	}
	one.IPv4.Sent = 2
	status.Time, status.Traffic = noon.Add(time.Minute), []api.DeviceTraffic{one}
	s.Observe(status)
	flush(t, s, status.Time)
	if got := read(); !slices.Equal(got, status.Traffic) {
		t.Errorf("later %+v, want %+v", got, status.Traffic)
	}
	if s.mem.devices.changed() {
		t.Error("what is written counts as changed")
	}
	// A damaged file costs what was before, and gets what is known now.
	if err := os.WriteFile(s.path, make([]byte, 1<<16), 0o600); err != nil {
		t.Fatal(err)
	}
	status.Time = noon.Add(2 * time.Minute)
	s.Observe(status)
	flush(t, s, status.Time)
	s.Observe(status)
	if got := read(); len(got) != 0 && !slices.Equal(got, status.Traffic) {
		t.Errorf("after damage: %+v", got)
	}
}
