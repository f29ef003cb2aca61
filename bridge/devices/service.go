package devices

import (
	"cmp"
	"context"
	"net/netip"

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
	return s.choose(ctx, device, func(cfg *config.Config, snap decide.Snapshot) error {
		return s.Book.Choose(cfg, snap, device, r)
	})
}

// choose has a choice carried out, and describes its device afterwards.
func (s *Service) choose(ctx context.Context, device decide.Device,
	change func(*config.Config, decide.Snapshot) error) (api.Identity, error) {
	if err := s.Change(ctx, "a device's choice", change); err != nil {
		return api.Identity{}, err
	}
	view, err := s.View()
	if err != nil {
		return api.Identity{}, err
	}
	return view.Identity(device), nil
}

// Identify implements api.DeviceBackend.
func (s *Service) Identify(ctx context.Context, from api.Sender) (api.Identity, error) {
	view, device, err := s.sender(ctx, from)
	if err != nil {
		return api.Identity{}, err
	}
	return view.Identity(device), nil
}

// UseOwn implements api.DeviceBackend.
func (s *Service) UseOwn(ctx context.Context, from api.Sender,
	egress string) (api.Identity, error) {
	view, device, err := s.sender(ctx, from)
	if err != nil {
		return api.Identity{}, err
	}
	if now := view.Identity(device); now.Choice == egress {
		return now, nil
	}
	return s.choose(ctx, device, func(cfg *config.Config, snap decide.Snapshot) error {
		err := s.Book.Choose(cfg, snap, device, api.DeviceRequest{Egress: egress})
		if err == nil && egress == "" && device.Member != 0 {
			// Forgotten with the choice was that the address is this device's.
			err = s.Book.Bind(device, plain(from.Addr))
		}
		return err
	})
}

// sender returns the device that a connection is from, and what is in force.
func (s *Service) sender(ctx context.Context, from api.Sender) (*View, decide.Device, error) {
	view, err := s.View()
	if err != nil {
		return nil, decide.Device{}, err
	}
	addr := plain(from.Addr)
	device, since, bound, err := view.Identify(ctx, from.Iface, addr)
	switch {
	case err != nil:
		return nil, decide.Device{}, err
	case bound && from.Opened.After(since):
		return view, device, nil
	case !bound:
		err = s.Change(ctx, "a device asked who it is",
			func(*config.Config, decide.Snapshot) error { return s.Book.Bind(device, addr) })
	}
	return nil, decide.Device{}, cmp.Or(err, api.ErrAskAgain)
}

func plain(a netip.Addr) netip.Addr { return a.Unmap().WithZone("") }
