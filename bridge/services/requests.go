package services

import (
	"context"

	"ztbridge/bridge/api"
	"ztbridge/bridge/clients"
)

// ClientRequests answers requests about the endpoint's clients. It implements api.EndpointBackend.
type ClientRequests struct{ Set *Set }

func (c ClientRequests) endpoint() (*Endpoint, error) {
	if e := c.Set.current.Load().endpoint; e != nil {
		return e, nil
	}
	return nil, api.ErrNoEndpoint
}

// Roster returns the endpoint's clients; api.ErrNoEndpoint: there is no endpoint.
func (c ClientRequests) Roster() (*clients.Roster, error) {
	e, err := c.endpoint()
	if err != nil {
		return nil, err
	}
	return e.roster()
}

// Disconnect implements api.EndpointBackend.
func (c ClientRequests) Disconnect(_ context.Context, client string) (int, error) {
	e, err := c.endpoint()
	if err != nil {
		return 0, err
	}
	return e.Disconnect(client)
}

// Link implements api.EndpointBackend.
func (c ClientRequests) Link(_ context.Context, r api.LinkRequest) (api.Link, error) {
	e, err := c.endpoint()
	if err != nil {
		return api.Link{}, err
	}
	return e.Link(r)
}
