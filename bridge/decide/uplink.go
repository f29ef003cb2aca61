package decide

import (
	"ztbridge/bridge/probe"
	"ztbridge/policyroute"
)

// ProbeVersion returns the place of an IP version in a probe.Status.
func ProbeVersion(f policyroute.Family) int {
	if f == policyroute.V6 {
		return probe.V6
	}
	return probe.V4
}

// UplinkSilent reports whether the host has a way out of its own, and nobody answers by it.
func UplinkSilent(s Snapshot) bool {
	return UplinkID(s.Host) != "" && s.Uplink.Grade == probe.Degraded
}

// UplinkSilentOver reports whether nobody answers by the host's own line over one IP version.
func UplinkSilentOver(s Snapshot, f policyroute.Family) bool {
	version := ProbeVersion(f)
	return s.Uplink.Asked[version] && s.Uplink.Of[version] == probe.Degraded &&
		s.Host.Default(f).Iface != ""
}
