package controller

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"

	"ztbridge/bridge/zerotier"
)

// BaseV1 is where Central v1 is.
const BaseV1 = "https://api.zerotier.com/api/v1"

// NewCentralV1 returns a client of Central v1 at a base address, usually BaseV1.
func NewCentralV1(base, token string, waiting Waiting) Client {
	return &centralV1{newRequester(base, "token", token, waiting)}
}

type centralV1 struct{ *requester }

func (c *centralV1) Kind() Kind { return CentralV1 }

type (
	networkV1 struct {
		ID     zerotier.NetworkID `json:"id"`
		Config *settings          `json:"config"`
	}
	memberV1 struct {
		NodeID   zerotier.Address `json:"nodeId"`
		Name     string           `json:"name"`
		LastSeen json.RawMessage  `json:"lastSeen"` // see parseTime
		Config   memberSettings   `json:"config"`
	}
	// memberSettings are a member's as v1 and the box's own controller write them.
	memberSettings struct {
		Authorized    *bool     `json:"authorized,omitempty"`
		IPAssignments *[]string `json:"ipAssignments,omitempty"`
	}
)

func (n networkV1) network() (Network, error) {
	out := Network{ID: n.ID}
	if n.Config == nil {
		return out, errNoSettings
	}
	return out, n.Config.decode(&out)
}

func (c *centralV1) Networks(ctx context.Context) ([]Network, error) {
	var answer []networkV1
	if err := c.do(ctx, http.MethodGet, "/network", nil, &answer); err != nil {
		return nil, err
	}
	return networks(answer)
}

func (c *centralV1) Network(ctx context.Context, id zerotier.NetworkID) (Network, error) {
	return askNetwork[networkV1](ctx, c, http.MethodGet, networkPath(id), id, nil)
}

// Create takes no settings: the network is private, and gets a name of Central's choice.
func (c *centralV1) Create(ctx context.Context, _ string) (Network, error) {
	return askNetwork[networkV1](ctx, c, http.MethodPost, "/network", 0, struct{}{})
}

func (c *centralV1) Delete(ctx context.Context, id zerotier.NetworkID) error {
	return c.do(ctx, http.MethodDelete, networkPath(id), nil, nil)
}

func (c *centralV1) Update(ctx context.Context, before, after Network) error {
	s, err := changed(before, after)
	if err != nil {
		return err
	}
	return c.do(ctx, http.MethodPost, networkPath(after.ID), map[string]settings{"config": s}, nil)
}

func (c *centralV1) Members(ctx context.Context, id zerotier.NetworkID) ([]Member, error) {
	var answer []memberV1
	if err := c.do(ctx, http.MethodGet, networkPath(id)+"/member", nil, &answer); err != nil {
		return nil, err
	}
	var out []Member
	for _, a := range answer {
		m, err := a.Config.member(a.NodeID, a.Name)
		if err != nil {
			return nil, err
		}
		m.LastSeen = parseTime(a.LastSeen)
		out = append(out, m)
	}
	return withoutRepeats(out), nil
}

func (c *centralV1) SetMember(ctx context.Context, id zerotier.NetworkID,
	before, after Member) error {
	body := map[string]any{"config": changedMember(before, after)}
	if before.Name != after.Name {
		body["name"] = after.Name
	}
	return c.do(ctx, http.MethodPost, memberPath(id, after.Address), body, nil)
}

func (c *centralV1) Forget(ctx context.Context, id zerotier.NetworkID, a zerotier.Address) error {
	return c.do(ctx, http.MethodDelete, memberPath(id, a), nil, nil)
}

func (s memberSettings) member(a zerotier.Address, name string) (Member, error) {
	var addrs []string
	if s.IPAssignments != nil {
		addrs = *s.IPAssignments
	}
	return memberOf(a, name, s.Authorized != nil && *s.Authorized, addrs)
}

func changedMember(before, after Member) memberSettings {
	var s memberSettings
	if before.Authorized != after.Authorized {
		s.Authorized = &after.Authorized
	}
	if !slices.Equal(before.Addrs, after.Addrs) {
		texts := []string{} // [] and not null
		for _, a := range after.Addrs {
			texts = append(texts, a.String())
		}
		s.IPAssignments = &texts
	}
	return s
}
