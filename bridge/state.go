package bridge

import (
	"errors"
	"path/filepath"
	"slices"

	"ztbridge/bridge/decide"
	"ztbridge/bridge/statefile"
	"ztbridge/policyroute"
)

// connectedPrefixes are the prefixes behind each ingress, by interface.
type connectedPrefixes = map[string]decide.ConnectedPrefixes

// preferencePath returns the file with the name of the egress that a person chose.
func preferencePath(opts Options) string { return filepath.Join(opts.StateDir, "egress-chosen") }

// openConnected opens the file with the last known prefixes behind each ingress.
func openConnected(opts Options) (*statefile.JSON[connectedPrefixes], error) {
	return statefile.Open[connectedPrefixes](filepath.Join(opts.StateDir, "behind.json"))
}

// openIngresses opens the file with the interfaces by which clients entered last. The guard closes
// them at the next boot, even if the configuration cannot be read any more.
func openIngresses(opts Options) (*statefile.JSON[[]string], error) {
	return statefile.Open[[]string](filepath.Join(opts.StateDir, "ingresses.json"))
}

// remember keeps what a daemon that starts later needs before it can find it out.
func (d *daemon) remember(intent policyroute.Intent, connected connectedPrefixes) {
	d.connected = connected
	var ifaces []string
	for _, g := range intent.Ingresses {
		ifaces = append(ifaces, g.Iface)
	}
	slices.Sort(ifaces)
	d.unkept.Warn(d.opts.Logger, "after a restart, too little may be known of the ingresses",
		errors.Join(d.recorded.Save(connected), d.guarded.Save(slices.Compact(ifaces))))
}
