// Package bridge decides where clients' packets go and keeps the kernel that way.
//
// One loop does it all: whatever happens rings a doorbell; the loop then takes a Snapshot of what
// is true, lets Desire decide, compiles the decision into kernel objects, observes the objects that
// are ours, and applies the difference.
//
//	 netlink ─┐
//	 openvpn ─┤                 ┌───────────┐  ┌────────┐  ┌─────────┐  ┌──────┐  ┌───────┐
//	zerotier ─┼─▶ doorbell ───▶ │ snapshot  ├─▶│ desire ├─▶│ compile ├─▶│ diff ├─▶│ apply │─▶ status
//	  probes ─┤   (one deep)    └───────────┘  └────────┘  └─────────┘  └──▲───┘  └───────┘
//	  SIGHUP ─┤                  drivers,       pure        pure           │
//	   timer ─┘                  kernel                                 observe
package bridge

import (
	"log/slog"

	"ztbridge/bridge/config"
)

// Options say where things are. All paths are absolute or relative to the working directory.
type Options struct {
	ConfigPath string
	StateDir   string // survives a reboot: keys, DNS answers, a person's choice
	RuntimeDir string // does not: sockets, original sysctls
	Overrides  config.Overrides
	Logger     *slog.Logger
	Version    string
	// Reload asks Run to read the configuration again. It may be nil.
	Reload <-chan struct{}
}
