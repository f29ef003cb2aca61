package bridge

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"ztbridge/bridge/config"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// ingressFile remembers the interfaces by which clients entered when the daemon last ran, so that
// the guard can close them at boot even if the configuration cannot be read any more.
const ingressFile = "ingresses.json"

// zerotierWildcard matches every interface of ZeroTier: a device must be named zt… for the service
// not to bind its own sockets to it, so there is no other kind.
const zerotierWildcard = "zt*"

// Guard closes the box before its network is up: nothing that enters by an ingress is forwarded
// until the daemon says whither. It is idempotent, needs no daemon and no network, and leaves a
// table that is there already as it is, since a running daemon's is no less closed. A configuration
// that cannot be read does not keep it from closing: all ZeroTier interfaces are closed, and those
// that were ingresses before; the error is returned after that. A box that has never had one is no
// error.
func Guard(_ context.Context, opts Options) error {
	ifaces, unreadable := guardedIfaces(opts)
	closed, err := kernel.Guard(policyroute.Closed(ifaces).Nft)
	if err != nil {
		return fmt.Errorf("closing: %w", err)
	}
	if !closed {
		opts.Logger.Info("guard: the table is there already")
		return nil
	}
	opts.Logger.Info("guard: closed", "interfaces", ifaces)
	return unreadable
}

// guardedIfaces returns what to close, and why less is known than should be.
func guardedIfaces(opts Options) ([]string, error) {
	ifaces := []string{zerotierWildcard}
	remembered, err := loadIngresses(opts.StateDir)
	ifaces = append(ifaces, remembered...)
	if _, missing := os.Lstat(opts.ConfigPath); errors.Is(missing, fs.ErrNotExist) && err == nil &&
		len(remembered) == 0 {
		return ifaces, nil // it waits for its owner, or for its cloud
	}
	cfg, _, cfgErr := config.Load(opts.ConfigPath, opts.Overrides)
	if cfgErr == nil {
		ifaces = append(ifaces, ingressIfaces(cfg)...)
	}
	slices.Sort(ifaces)
	return slices.Compact(ifaces), errors.Join(err, cfgErr)
}

// ingressIfaces returns the interfaces that a configuration makes ingresses.
func ingressIfaces(cfg *config.Config) []string {
	var out []string
	for _, n := range unasked(cfg.ZeroTier).Networks {
		out = append(out, n.Iface)
	}
	for _, i := range cfg.Interfaces {
		out = append(out, i.Iface)
	}
	if cfg.Endpoint != nil {
		for _, l := range cfg.Endpoint.Listen {
			out = append(out, listenerDevice(l))
		}
	}
	return out
}

func loadIngresses(stateDir string) ([]string, error) {
	b, err := os.ReadFile(filepath.Join(stateDir, ingressFile))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading remembered ingresses: %w", err)
	}
	var out []string
	if err := json.Unmarshal(b, &out); err != nil {
		return nil, fmt.Errorf("reading remembered ingresses: %w", err)
	}
	return out, nil
}

// saveIngresses records the ingresses for the next boot.
func saveIngresses(stateDir string, ifaces []string) error {
	slices.Sort(ifaces)
	b, err := json.Marshal(slices.Compact(ifaces))
	if err != nil {
		return err
	}
	if err := writeFile(filepath.Join(stateDir, ingressFile), append(b, '\n')); err != nil {
		return fmt.Errorf("remembering ingresses: %w", err)
	}
	return nil
}
