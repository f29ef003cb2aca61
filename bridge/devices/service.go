package devices

import (
	"cmp"
	"context"
	"net/netip"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
)

// Service answers requests about devices. It implements api.DeviceBackend.
type Service struct {
	Book *Book
	// View returns what is in force, or an error while nothing is.
	View func() (*View, error)
	// Change has the goroutine that owns the book carry out a change, and a pass put it in force.
	Change func(ctx context.Context, cause string,
		change func(*config.Config, decide.Snapshot) error) error
}

// UseFor implements api.DeviceBackend.
func (s *Service) UseFor(ctx context.Context, r api.DeviceRequest) (api.Identity, error) {
	view, err := s.View()
	if err != nil {
		return api.Identity{}, err
	}
	device, err := view.Resolve(ctx, r.Device)
	if err != nil {
		return api.Identity{}, err
	}
	err = s.Change(ctx, "a device's choice", func(cfg *config.Config, snap decide.Snapshot) error {
		return s.Book.Choose(cfg, snap, device, r)
	})
	if err == nil {
		view, err = s.View()
	}
	if err != nil {
		return api.Identity{}, err
	}
	return view.Identity(device), nil
}

// Identify implements api.DeviceBackend.
func (s *Service) Identify(ctx context.Context, iface string, remote netip.Addr,
	opened time.Time) (api.Identity, error) {
	view, err := s.View()
	if err != nil {
		return api.Identity{}, err
	}
	remote = remote.Unmap().WithZone("")
	device, bound, err := view.Identify(ctx, iface, remote, opened)
	if err != nil {
		return api.Identity{}, err
	}
	if bound {
		return view.Identity(device), nil
	}
	err = s.Change(ctx, "a device asked who it is", func(*config.Config, decide.Snapshot) error {
		return s.Book.Bind(device, remote)
	})
	return api.Identity{}, cmp.Or(err, api.ErrAskAgain)
}
