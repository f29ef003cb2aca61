package controller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"ztbridge/bridge/zerotier"
)

// BaseV2 is where Central v2 is.
const BaseV2 = "https://central.zerotier.com/api/v2"

// NewCentralV2 returns a client of Central v2 at a base address, usually BaseV2. The token is an
// API key of a service account.
func NewCentralV2(base, token string, waiting Waiting) Client {
	return &centralV2{newRequester(base, "Bearer", token, waiting)}
}

type centralV2 struct{ *requester }

func (c *centralV2) Kind() Kind { return CentralV2 }

type (
	networkV2 struct {
		ID     zerotier.NetworkID `json:"id"`
		Name   string             `json:"name"`
		Config *settingsV2        `json:"config"`
	}
	memberV2 struct {
		DeviceID zerotier.Address `json:"deviceId"`
		Name     string           `json:"name"`
		Status   string           `json:"status"`
		V4       []string         `json:"ipv4Assignments"`
		V6       []string         `json:"ipv6Assignments"`
		LastSeen json.RawMessage  `json:"lastSeenTime"` // ms since 1970, or a date
	}
	memberChangeV2 struct {
		Name *string   `json:"name,omitempty"`
		V4   *[]string `json:"ipv4Assignments,omitempty"`
		V6   *[]string `json:"ipv6Assignments,omitempty"`
	}
)

func (n networkV2) network() (Network, error) {
	if n.Config == nil {
		return Network{ID: n.ID}, errNoSettings
	}
	s := settings{Name: &n.Name, Private: n.Config.Private, Routes: n.Config.Routes,
		V4: n.Config.V4, V6: n.Config.V6, DNS: n.Config.DNS}
	var pools []json.RawMessage
	for _, list := range []*[]json.RawMessage{n.Config.Pools, n.Config.Pools6} {
		if list != nil {
			pools = append(pools, *list...)
		}
	}
	s.Pools = &pools
	out := Network{ID: n.ID}
	return out, s.decode(&out)
}

func (c *centralV2) Networks(ctx context.Context) ([]Network, error) {
	var raw json.RawMessage
	if err := c.do(ctx, http.MethodGet, "/network", nil, &raw); err != nil {
		return nil, err
	}
	answer, err := list[networkV2](raw)
	if err != nil {
		return nil, fmt.Errorf("reading the list of networks: %w", err)
	}
	return networks(answer)
}

func (c *centralV2) Network(ctx context.Context, id zerotier.NetworkID) (Network, error) {
	return askNetwork[networkV2](ctx, c, http.MethodGet, networkPath(id), id, nil)
}

// Create makes the network in the first network group of the first organisation.
func (c *centralV2) Create(ctx context.Context, name string) (Network, error) {
	org, err := c.first(ctx, "/org", "organisation")
	if err != nil {
		return Network{}, err
	}
	group, err := c.first(ctx, "/org/"+org+"/network-group", "network group")
	if err != nil {
		return Network{}, err
	}
	private := true
	body := struct {
		Name   string     `json:"name"`
		Config settingsV2 `json:"config"`
	}{name, settingsV2{Private: &private}}
	return askNetwork[networkV2](ctx, c, http.MethodPost, "/network-group/"+group+"/network", 0,
		body)
}

// first returns the id of the first entry of a list, in the list's order.
func (c *centralV2) first(ctx context.Context, path, what string) (string, error) {
	var raw json.RawMessage
	if err := c.do(ctx, http.MethodGet, path, nil, &raw); err != nil {
		return "", err
	}
	entries, err := list[struct {
		ID string `json:"id"`
	}](raw)
	if err == nil && (len(entries) == 0 || entries[0].ID == "" ||
		strings.ContainsAny(entries[0].ID, "/?#%")) {
		err = fmt.Errorf("%w: the token sees no %s", ErrForbidden, what)
	}
	if err != nil {
		return "", fmt.Errorf("asking %s: GET %s: %w", c.base, path, err)
	}
	return entries[0].ID, nil
}

func (c *centralV2) Delete(ctx context.Context, id zerotier.NetworkID) error {
	return c.do(ctx, http.MethodDelete, networkPath(id), nil, nil)
}

func (c *centralV2) Update(ctx context.Context, before, after Network) error {
	s, err := changed(before, after)
	if err != nil {
		return err
	}
	body := struct {
		Name   *string    `json:"name,omitempty"`
		Config settingsV2 `json:"config"`
	}{s.Name, settingsV2{Routes: s.Routes, V4: s.V4, V6: s.V6, DNS: s.DNS}}
	if s.Pools != nil {
		var v4, v6 []Pool
		for _, p := range after.Pools {
			if p.First.Is4() {
				v4 = append(v4, p)
			} else {
				v6 = append(v6, p)
			}
		}
		body.Config.Pools, err = encodeList(v4, encodePool)
		if err == nil {
			body.Config.Pools6, err = encodeList(v6, encodePool)
		}
		if err != nil {
			return err
		}
	}
	return c.do(ctx, http.MethodPost, networkPath(after.ID), body, nil)
}

func (c *centralV2) Members(ctx context.Context, id zerotier.NetworkID) ([]Member, error) {
	var raw json.RawMessage
	if err := c.do(ctx, http.MethodGet, networkPath(id)+"/member", nil, &raw); err != nil {
		return nil, err
	}
	answer, err := list[memberV2](raw)
	if err != nil {
		return nil, fmt.Errorf("reading the members of network %s: %w", id, err)
	}
	var out []Member
	for _, a := range answer {
		in := strings.EqualFold(strings.TrimPrefix(a.Status, "MEMBER_STATUS_"), "authorized")
		m, err := memberOf(a.DeviceID, a.Name, in, append(a.V4, a.V6...))
		if err != nil {
			return nil, err
		}
		m.LastSeen = parseTime(a.LastSeen)
		out = append(out, m)
	}
	return withoutRepeats(out), nil
}

// SetMember adds the device if it is unknown, sets its name and addresses, and authorises it. The
// API has a request for each.
func (c *centralV2) SetMember(ctx context.Context, id zerotier.NetworkID,
	before, after Member) error {
	path := memberPath(id, after.Address)
	err := c.do(ctx, http.MethodGet, path, nil, nil)
	if errors.Is(err, ErrNotFound) {
		err = c.do(ctx, http.MethodPost, networkPath(id)+"/member",
			map[string]string{"deviceId": after.Address.String()}, nil)
	}
	if err != nil {
		return err
	}
	var body memberChangeV2
	if before.Name != after.Name {
		body.Name = &after.Name
	}
	if !slices.Equal(before.Addrs, after.Addrs) {
		v4, v6 := []string{}, []string{}
		for _, a := range after.Addrs {
			if a.Is4() {
				v4 = append(v4, a.String())
			} else {
				v6 = append(v6, a.String())
			}
		}
		body.V4, body.V6 = &v4, &v6
	}
	if body != (memberChangeV2{}) {
		if err := c.do(ctx, http.MethodPost, path, body, nil); err != nil {
			return err
		}
	}
	switch {
	case after.Authorized && !before.Authorized:
		return c.do(ctx, http.MethodPost, path+"/authorize", struct{}{}, nil)
	case !after.Authorized && before.Authorized:
		return c.do(ctx, http.MethodPost, path+"/de-authorize", struct{}{}, nil)
	}
	return nil
}

// Forget does nothing. The API has no request to remove a single member, and an unauthorised one
// has no part in the network.
func (c *centralV2) Forget(context.Context, zerotier.NetworkID, zerotier.Address) error {
	return nil
}

// parseTime reads milliseconds since 1970, as a number or as text, or a date of RFC 3339. What is
// none of these is the zero time.
func parseTime(raw json.RawMessage) time.Time {
	text := strings.Trim(string(raw), `"`)
	if ms, err := strconv.ParseInt(text, 10, 64); err == nil && ms > 0 {
		return time.UnixMilli(ms)
	}
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return time.Time{}
	}
	return at
}
