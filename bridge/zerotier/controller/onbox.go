package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"ztbridge/bridge/zerotier"
)

// NewOnBox returns a client of the controller inside the box's own zerotier-one. It fails with
// ErrNoController where that was built without one, as the default builds since 1.16.0 are.
func NewOnBox(ctx context.Context, api *zerotier.Local) (Client, error) {
	self, version, err := api.Node(ctx)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Controller bool `json:"controller"`
	}
	err = api.Do(ctx, http.MethodGet, "/controller", nil, &answer)
	if errors.Is(err, zerotier.ErrNotFound) || err == nil && !answer.Controller {
		return nil, fmt.Errorf("asking zerotier-one %s: %w", version, ErrNoController)
	}
	return &onBox{api: api, self: self}, err
}

type onBox struct {
	api  *zerotier.Local
	self zerotier.Address
}

func (c *onBox) Kind() Kind { return OnBox }

type (
	networkOnBox struct {
		ID zerotier.NetworkID `json:"id"`
		settings
	}
	memberOnBox struct {
		ID   zerotier.Address `json:"id"`
		Name string           `json:"name"`
		memberSettings
	}
)

func (n networkOnBox) network() (Network, error) {
	out := Network{ID: n.ID}
	var none []any
	out.DNSIsFinal = json.Unmarshal(n.DNS, &none) == nil // [] until set, an object ever after
	return out, n.decode(&out)
}

// do asks the controller, which answers each request by JSON. It turns the driver's "not found"
// into this package's.
func (c *onBox) do(ctx context.Context, method, path string, in, out any) error {
	if out == nil {
		out = new(json.RawMessage)
	}
	err := c.api.Do(ctx, method, "/controller"+path, in, out)
	switch {
	case errors.Is(err, zerotier.ErrNotFound):
		return fmt.Errorf("asking this box's own controller: %s %s: %w", method, path, ErrNotFound)
	case err != nil:
		return fmt.Errorf("asking this box's own controller: %w", err)
	}
	return nil
}

func (c *onBox) Networks(ctx context.Context) ([]Network, error) {
	var ids []zerotier.NetworkID
	if err := c.do(ctx, http.MethodGet, "/network", nil, &ids); err != nil {
		return nil, err
	}
	var out []Network
	for _, id := range ids {
		n, err := c.Network(ctx, id)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

func (c *onBox) Network(ctx context.Context, id zerotier.NetworkID) (Network, error) {
	return askNetwork[networkOnBox](ctx, c, http.MethodGet, networkPath(id), id, nil)
}

func (c *onBox) Create(ctx context.Context, name string) (Network, error) {
	private := true
	return askNetwork[networkOnBox](ctx, c, http.MethodPost, "/network/"+c.self.String()+"______",
		0, settings{Name: &name, Private: &private})
}

func (c *onBox) Delete(ctx context.Context, id zerotier.NetworkID) error {
	return c.do(ctx, http.MethodDelete, networkPath(id), nil, nil)
}

func (c *onBox) Update(ctx context.Context, before, after Network) error {
	s, err := changed(before, after)
	if err != nil {
		return err
	}
	return c.do(ctx, http.MethodPost, networkPath(after.ID), s, nil)
}

func (c *onBox) Members(ctx context.Context, id zerotier.NetworkID) ([]Member, error) {
	var revisions map[zerotier.Address]any
	if err := c.do(ctx, http.MethodGet, networkPath(id)+"/member", nil, &revisions); err != nil {
		return nil, err
	}
	var out []Member
	for _, address := range slices.Sorted(maps.Keys(revisions)) {
		var a memberOnBox
		if err := c.do(ctx, http.MethodGet, memberPath(id, address), nil, &a); err != nil {
			return nil, err
		}
		if a.ID != address {
			return nil, fmt.Errorf("asking this box's own controller: member %s: %w", address,
				ErrUnexpected)
		}
		m, err := a.member(address, a.Name)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}

func (c *onBox) SetMember(ctx context.Context, id zerotier.NetworkID, before, after Member) error {
	body := struct {
		Name *string `json:"name,omitempty"`
		memberSettings
	}{memberSettings: changedMember(before, after)}
	if before.Name != after.Name {
		body.Name = &after.Name
	}
	return c.do(ctx, http.MethodPost, memberPath(id, after.Address), body, nil)
}

func (c *onBox) Forget(ctx context.Context, id zerotier.NetworkID, a zerotier.Address) error {
	return c.do(ctx, http.MethodDelete, memberPath(id, a), nil, nil)
}
