package network

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"ztbridge/bridge/api"
	"ztbridge/bridge/zerotier"
	"ztbridge/bridge/zerotier/controller"
)

// Members returns the members of the network, the box itself included.
func (s *Session) Members(ctx context.Context) ([]controller.Member, error) {
	n, err := s.existing(ctx)
	if err != nil {
		return nil, err
	}
	members, err := s.client.Members(ctx, n.ID)
	return members, hinted(err)
}

// Authorize lets a member into the network, or bars it, and reads back. who is its name or its
// address, which need not be known yet. It is idempotent, and returns the member's address.
func (s *Session) Authorize(ctx context.Context, who string, yes bool) (zerotier.Address, error) {
	members, err := s.Members(ctx)
	if err != nil {
		return 0, err
	}
	before, err := Pick(members, who)
	if err != nil {
		return 0, err
	}
	if before.Address == s.self && !yes {
		return 0, &api.HintedError{Err: errors.New("this is the box itself"),
			Hint: "to take setup back: ztbridge network teardown"}
	}
	if before.Authorized == yes {
		return before.Address, nil
	}
	after := before
	after.Authorized = yes
	if err := s.client.SetMember(ctx, s.id, before, after); err != nil {
		return 0, hinted(err)
	}
	if members, err = s.Members(ctx); err != nil {
		return 0, err
	}
	if now, err := Pick(members, before.Address.String()); err != nil || now.Authorized != yes {
		return 0, hinted(fmt.Errorf("reading back member %s: %w", before.Address,
			controller.ErrNotKept))
	}
	return before.Address, nil
}

// Pick returns the member that a name or an address means, with a hint if it is none. An address
// need not be known yet.
func Pick(members []controller.Member, who string) (controller.Member, error) {
	var found []controller.Member
	for _, m := range members {
		if strings.EqualFold(m.Address.String(), who) {
			return m, nil
		}
		if m.Name == who && who != "" { // else members without a name would be meant
			found = append(found, m)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	if len(found) > 1 {
		return controller.Member{}, &api.HintedError{
			Err:  fmt.Errorf("%d members are called %q", len(found), who),
			Hint: "use the address; `ztbridge network members` lists them"}
	}
	a, err := zerotier.ParseAddress(strings.ToLower(who))
	if err != nil {
		return controller.Member{}, &api.HintedError{
			Err: fmt.Errorf("there is no member %q in this network", who),
			Hint: "`ztbridge network members` lists them; one that has not joined yet is named " +
				"by its 10-digit address"}
	}
	return controller.Member{Address: a}, nil
}
