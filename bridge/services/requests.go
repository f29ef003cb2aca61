package services

import (
	"context"

	"ztbridge/bridge/api"
	"ztbridge/bridge/clients"
)

// ClientRequests answers requests about the endpoint's clients. It implements api.EndpointBackend.
type ClientRequests struct{ Set *Set }

// Roster returns the endpoint's clients; api.ErrNoEndpoint: there is no endpoint.
func (c ClientRequests) Roster() (*clients.Roster, error) {
	e := c.Set.CurrentEndpoint()
	if e == nil {
		return nil, api.ErrNoEndpoint
	}
	return e.roster()
}

// Disconnect implements api.EndpointBackend.
func (c ClientRequests) Disconnect(_ context.Context, client string) (int, error) {
	e := c.Set.CurrentEndpoint()
	if e == nil {
		return 0, api.ErrNoEndpoint
	}
	return e.Disconnect(client)
}

// Link implements api.EndpointBackend.
func (c ClientRequests) Link(_ context.Context, r api.LinkRequest) (api.Link, error) {
	e := c.Set.CurrentEndpoint()
	if e == nil {
		return api.Link{}, api.ErrNoEndpoint
	}
	return e.Link(r)
}
