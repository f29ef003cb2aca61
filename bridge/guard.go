package bridge

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"

	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/services"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// zerotierWildcard matches every interface of ZeroTier: a device must be named zt… for the service
// not to bind its own sockets to it, so there is no other kind.
const zerotierWildcard = "zt*"

// Guard closes the box before its network is up: nothing that enters by an ingress is forwarded
// until the daemon is ready. It is idempotent, needs no daemon and no network, and keeps a table
// that is there already. An unreadable configuration is returned as an error after it has closed
// all ZeroTier interfaces and former ingresses. A box that never had one is no error.
func Guard(_ context.Context, opts Options) error {
	ifaces, unreadable := guardedIfaces(opts)
	behind, err := openConnected(opts)
	want := policyroute.Closed(ifaces, decide.Behind(behind.Value())...)
	unreadable = errors.Join(unreadable, err)
	closed, err := kernel.Guard(want.Nft)
	if err != nil {
		return fmt.Errorf("closing: %w", err)
	}
	if err := guardParameters(want, opts); err != nil {
		// The table drops the same packets.
		opts.Logger.Warn("guard: rules and kernel parameters are not set", "error", err)
	}
	if !closed {
		opts.Logger.Info("guard: the table is there already")
		return nil
	}
	opts.Logger.Info("guard: closed", "interfaces", ifaces)
	return unreadable
}

// guardParameters refuses what enters by interfaces whose names are known, whatever becomes of the
// filter, and keeps clients from configuring the box by those that exist already.
func guardParameters(closed policyroute.State, opts Options) error {
	if err := services.MakeRuntimeDir(opts.RuntimeDir); err != nil {
		return err
	}
	return kernel.GuardHost(closed,
		kernel.Options{RecordPath: recordPath(opts), Logger: opts.Logger})
}

// guardedIfaces returns what to close, and why less is known than should be.
func guardedIfaces(opts Options) ([]string, error) {
	ifaces := []string{zerotierWildcard}
	remembered, err := openIngresses(opts)
	ifaces = append(ifaces, remembered.Value()...)
	if _, missing := os.Lstat(opts.ConfigPath); errors.Is(missing, fs.ErrNotExist) && err == nil &&
		len(remembered.Value()) == 0 {
		return ifaces, nil // it waits for its owner, or for its cloud
	}
	cfg, _, cfgErr := config.Load(opts.ConfigPath, opts.Overrides)
	if cfgErr == nil {
		ifaces = append(ifaces, decide.IngressIfaces(cfg)...)
	}
	slices.Sort(ifaces)
	return slices.Compact(ifaces), errors.Join(err, cfgErr)
}
