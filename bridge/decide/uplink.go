package decide

import "ztbridge/bridge/probe"

// UplinkSilent reports whether the host has a way out of its own, and nobody answers by it.
func UplinkSilent(s Snapshot) bool {
	return UplinkID(s.Host) != "" && s.Uplink.Grade == probe.Degraded
}
