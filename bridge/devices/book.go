package devices

import (
	"fmt"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/statefile"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute/kernel"
)

const (
	// maxDevices bounds the file, the filter and a pass.
	maxDevices = 1024
	// maxAddrs is how many addresses of a member are kept: what it has in both IP versions, and
	// what it had before.
	maxAddrs = 8
	// questionLife is how long a device that asked who it is, and chose nothing, is remembered.
	questionLife = 15 * time.Minute
)

// Neighbours is the kernel's neighbour table, as kernel.Kernel reads it.
type Neighbours interface {
	Neighbours(iface string) ([]kernel.Neighbour, error)
}

// Book keeps the devices that chose an exit of their own, or asked who they are. It belongs to one
// goroutine.
type Book struct {
	kernel Neighbours
	log    *slog.Logger
	file   *statefile.JSON[[]decide.DeviceState]
	list   []decide.DeviceState
	moved  bool
}

// Open reads the file with the choices. If it cannot be read, that is logged, and the book is
// empty.
func Open(stateDir string, k Neighbours, log *slog.Logger) *Book {
	file, err := statefile.Open[[]decide.DeviceState](filepath.Join(stateDir, "devices.json"))
	if err != nil {
		log.Warn("the devices' choices are lost", "error", err)
	}
	return &Book{kernel: k, log: log, file: file, list: file.Value()}
}

// List returns the devices. The caller must not change them.
func (b *Book) List() []decide.DeviceState { return b.list }

// Moved reports whether devices changed since connections were last cut for that; see Commit.
func (b *Book) Moved() bool { return b.moved }

// Commit notes that the connections of devices that changed were cut.
func (b *Book) Commit() { b.moved = false }

// set records the devices that chose, and has the next pass put them in force. On an error all is
// as it was.
func (b *Book) set(devices []decide.DeviceState) error {
	if err := b.record(devices); err != nil {
		return err
	}
	b.list, b.moved = devices, true
	return nil
}

// record writes the devices that chose to the file.
func (b *Book) record(devices []decide.DeviceState) error {
	err := b.file.Save(slices.DeleteFunc(slices.Clone(devices),
		func(s decide.DeviceState) bool { return s.Egress == "" }))
	if err != nil {
		return fmt.Errorf("recording the devices' choices: %w", err)
	}
	return nil
}

// Learn adds to the devices the addresses at which they are met, and forgets those that only asked
// who they are. It returns which of their addresses other members claim.
func (b *Book) Learn(cfg *config.Config, s decide.Snapshot) []decide.Claim {
	devices := slices.DeleteFunc(slices.Clone(b.list), func(s decide.DeviceState) bool {
		return s.Egress == "" && time.Since(s.Since) > questionLife
	})
	changed := len(devices) != len(b.list)
	known := map[string][]kernel.Neighbour{} // by interface
	for i, state := range devices {
		if state.Member == 0 {
			continue
		}
		n := decide.NetworkOf(cfg, s, state.Network)
		if _, ok := known[n.Iface]; !ok {
			known[n.Iface] = b.neighbours(n)
		}
		changed = meet(devices, i, n, known[n.Iface]) || changed
	}
	if changed {
		b.list, b.moved = devices, true // whatever the disk takes
		if err := b.record(devices); err != nil {
			b.log.Warn("a device's addresses may be unknown after a restart", "error", err)
		}
	}
	var out []decide.Claim
	for iface, list := range known {
		out = append(out, claims(cfg, s, iface, devices, list)...)
	}
	return out
}

// neighbours returns who is known behind a network; none if it cannot be asked.
func (b *Book) neighbours(n zerotier.NetworkStatus) []kernel.Neighbour {
	list, err := b.kernel.Neighbours(n.Iface)
	if err != nil {
		b.log.Debug("who is behind a network is not known", "error", err)
	}
	return list
}

// meet gives a device the addresses that are its own, or at which it answers. It reports whether
// there is a new one.
func meet(devices []decide.DeviceState, i int, n zerotier.NetworkStatus,
	known []kernel.Neighbour) (changed bool) {
	device := devices[i].Device
	now := append(certain(device, n), met(device, known)...)
	for _, a := range now {
		changed = addAddr(devices, i, a, now) || changed
	}
	return changed
}

// claims returns which members answer for an address that is a device's.
func claims(cfg *config.Config, s decide.Snapshot, iface string, devices []decide.DeviceState,
	known []kernel.Neighbour) []decide.Claim {
	var out []decide.Claim
	for _, state := range devices {
		n := decide.NetworkOf(cfg, s, state.Network)
		for _, other := range known {
			node, ok := zerotier.NodeOf(n.ID, other.MAC)
			if ok && n.Iface == iface && node != state.Member && state.Has(other.Addr) {
				out = append(out, decide.Claim{Device: state, Addr: other.Addr, By: node})
			}
		}
	}
	return out
}

// met returns the addresses at which a member's own hardware address answers.
func met(d decide.Device, known []kernel.Neighbour) []netip.Addr {
	id, err := zerotier.ParseNetworkID(d.Network)
	if d.Member == 0 || err != nil {
		return nil
	}
	var out []netip.Addr
	for _, n := range known {
		if node, ok := zerotier.NodeOf(id, n.MAC); ok && node == d.Member {
			out = append(out, n.Addr)
		}
	}
	return out
}

// certain returns the addresses that a member of a network can only have by its ZeroTier address.
func certain(d decide.Device, n zerotier.NetworkStatus) []netip.Addr {
	var out []netip.Addr
	for _, p := range []netip.Prefix{zerotier.RFC4193(n.ID, d.Member),
		zerotier.SixPlane(n.ID, d.Member)} {
		if d.Member != 0 && slices.Contains(n.Prefixes, p.Masked()) {
			out = append(out, p.Addr())
		}
	}
	return out
}

// addAddr gives a device an address, unless it is one's already. A full list loses its oldest
// address that is none of keep; if there is none, nothing is added: a member that answers at more
// addresses than are kept would change the list in each pass. It reports whether it did.
func addAddr(devices []decide.DeviceState, i int, a netip.Addr, keep []netip.Addr) bool {
	if slices.ContainsFunc(devices, func(s decide.DeviceState) bool {
		return s.Network == devices[i].Network && s.Has(a)
	}) {
		return false
	}
	list := slices.Clone(devices[i].Addrs)
	if len(list) >= maxAddrs {
		old := slices.IndexFunc(list, func(b netip.Addr) bool { return !slices.Contains(keep, b) })
		if old < 0 {
			return false
		}
		list = slices.Delete(list, old, old+1)
	}
	list = append(list, a)
	devices[i].Addrs = list
	return true
}

// takeAddr gives a device an address that the controller gave it: no other has it any more.
func takeAddr(devices []decide.DeviceState, i int, a netip.Addr) {
	for j := range devices {
		if j != i && devices[j].Network == devices[i].Network {
			devices[j].Addrs = slices.DeleteFunc(slices.Clone(devices[j].Addrs),
				func(b netip.Addr) bool { return a == b })
		}
	}
	addAddr(devices, i, a, nil)
}

// with returns the devices, and where among them the device is: at the end if it is new.
func (b *Book) with(device decide.Device) ([]decide.DeviceState, int) {
	devices := slices.Clone(b.list)
	i := slices.IndexFunc(devices, func(s decide.DeviceState) bool { return s.Device == device })
	if i < 0 {
		i = len(devices)
		devices = append(devices, decide.DeviceState{Device: device, Since: time.Now()})
	}
	return devices, i
}

// Choose records a device's choice, which the next pass puts in force. An empty choice forgets it.
// ErrNotFound: its rule does not offer that exit.
func (b *Book) Choose(cfg *config.Config, snap decide.Snapshot, device decide.Device,
	r api.DeviceRequest) error {
	devices, i := b.with(device)
	for _, a := range r.Addresses {
		takeAddr(devices, i, a.Unmap())
	}
	if r.Name != "" {
		devices[i].Name = r.Name
	}
	if r.Egress == "" {
		devices = slices.Delete(devices, i, i+1)
	} else {
		if device.Member != 0 {
			n := decide.NetworkOf(cfg, snap, device.Network)
			meet(devices, i, n, b.neighbours(n))
		}
		offers := decide.Offers(cfg, snap, devices[i])
		if err := mayChoose(device, r.Egress, offers); err != nil {
			return err
		}
		devices[i].Egress, devices[i].Since = r.Egress, time.Now()
	}
	if len(devices) > maxDevices {
		return fmt.Errorf("%d devices have chosen an exit: no more can", maxDevices)
	}
	b.log.Info("a device's exit was chosen", "device", device, "exit", r.Egress)
	return b.set(devices)
}

// mayChoose refuses an exit that a device's rule does not offer.
func mayChoose(device decide.Device, egress string, offers []string) error {
	switch {
	case len(offers) == 0:
		return &api.HintedError{
			Err: fmt.Errorf("%s may not choose an exit: no rule for it has `choose:`: %w", device,
				api.ErrNotFound),
			Hint: "add `choose: [NAME, NAME]` to its rule under `policy:`, then: ztbridge reload"}
	case !slices.Contains(offers, egress):
		return &api.HintedError{
			Err:  fmt.Errorf("%s may not choose %q: %w", device, egress, api.ErrNotFound),
			Hint: "it may choose " + strings.Join(offers, ", ")}
	}
	return nil
}

// Bind remembers that a member asked from an address, so that nobody else can send from it once the
// next pass has put that in force. It fails with api.ErrUnvouched for a member that has been met at
// as many addresses as are kept: each new one costs a pass.
func (b *Book) Bind(device decide.Device, a netip.Addr) error {
	devices, i := b.with(device)
	if devices[i].Has(a) {
		return nil
	}
	if !addAddr(devices, i, a, devices[i].Addrs) {
		return fmt.Errorf("%s is not taken for an address of %s: %w", a, device, api.ErrUnvouched)
	}
	if len(devices) > maxDevices {
		return fmt.Errorf("%d devices are known by name: no more can be", maxDevices)
	}
	return b.set(devices)
}
