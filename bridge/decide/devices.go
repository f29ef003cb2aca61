package decide

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"

	"ztbridge/bridge/config"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute"
)

// maxIfaceName is the longest name of an interface (IFNAMSIZ - 1, linux/if.h).
const maxIfaceName = 15

// TunnelDevice returns the name of an egress's TUN device. It contains the egress's name if that
// fits, and is the same after every restart, so that a device that outlived its daemon is found
// again.
func TunnelDevice(egress string) string {
	name := policyroute.TunPrefix + "-" + egress
	if len(name) <= maxIfaceName {
		return name
	}
	sum := sha256.Sum256([]byte(egress))
	tail := hex.EncodeToString(sum[:])[:4]
	return name[:maxIfaceName-len(tail)] + tail
}

// IsOurs reports whether a device of that name is one of ours.
func IsOurs(device string) bool { return strings.HasPrefix(device, policyroute.TunPrefix) }

// ListenerDevice returns the name of a listener's TUN device. The dot keeps it apart from every
// TunnelDevice.
func ListenerDevice(l config.Listener) string {
	return fmt.Sprintf("%s.%s%d", policyroute.TunPrefix, l.Proto, l.Port)
}

// OrphanDevices returns our devices that are not part of the intent.
func OrphanDevices(intent policyroute.Intent, w HostState) []string {
	wanted := map[string]bool{}
	for _, e := range intent.Egresses {
		wanted[e.Iface] = true
	}
	for _, g := range intent.Ingresses {
		wanted[g.Iface] = true
	}
	var out []string
	for _, l := range w.Links {
		if IsOurs(l.Name) && !wanted[l.Name] {
			out = append(out, l.Name)
		}
	}
	return out
}

// UnqueriedNetworks returns the state of the networks before the service was asked: their
// interfaces. Rules and filters need those from the first pass on.
func UnqueriedNetworks(cfg config.ZeroTier) zerotier.Status {
	var s zerotier.Status
	for _, n := range cfg.Networks {
		if id, err := zerotier.ParseNetworkID(n.ID); err == nil {
			s.Networks = append(s.Networks, zerotier.NetworkStatus{ID: id,
				Iface: zerotier.IfaceIn(cfg.Home, id), State: zerotier.NetworkUnknown})
		}
	}
	return s
}

// IngressIfaces returns the interfaces that a configuration makes ingresses.
func IngressIfaces(cfg *config.Config) []string {
	var out []string
	for _, n := range UnqueriedNetworks(cfg.ZeroTier).Networks {
		out = append(out, n.Iface)
	}
	for _, i := range cfg.Interfaces {
		out = append(out, i.Iface)
	}
	if cfg.Endpoint != nil {
		for _, l := range cfg.Endpoint.Listen {
			out = append(out, ListenerDevice(l))
		}
	}
	return out
}
