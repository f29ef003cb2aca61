package network

import (
	"cmp"
	"context"
	"errors"
	"strings"

	"ztbridge/bridge/zerotier"
	"ztbridge/bridge/zerotier/controller"
)

// Status is what a network hands to members, and what it lacks.
type Status struct {
	Title string
	Plan  controller.Plan // what setup would add
	Added []string        // what an earlier setup added
}

// Status compares the network with what the box needs, and changes nothing.
func (s *Session) Status(ctx context.Context) (Status, error) {
	n, err := s.existing(ctx)
	if err != nil {
		return Status{}, err
	}
	rec, _ := s.records.Of(n.ID)
	out := Status{Title: s.title(n)}
	for _, c := range rec.Changes {
		out.Added = append(out.Added, strings.TrimLeft(c.String(), "+- "))
	}
	out.Plan, err = s.planSetup(ctx, SetupOptions{}, n, rec.Made)
	return out, err
}

// Teardown is what takes back what setup added.
type Teardown struct {
	Title string
	Plan  controller.Plan

	session *Session
	record  controller.Record
}

// ErrNothingAdded is returned by PlanTeardown where there is nothing to take back.
var ErrNothingAdded = errors.New("setup added nothing to this network")

// ErrGone is returned by PlanTeardown for a network that setup made and somebody has removed.
var ErrGone = errors.New("this network is gone")

// PlanTeardown returns what setup added and still stands, and changes nothing; but it forgets a
// network that is gone. It fails with ErrNothingAdded or ErrGone where nothing is to be done.
func (s *Session) PlanTeardown(ctx context.Context) (*Teardown, error) {
	rec, ok := s.records.Of(s.id)
	if !ok {
		return nil, ErrNothingAdded
	}
	n, err := s.existing(ctx)
	if errors.Is(err, controller.ErrNotFound) && rec.Made {
		return nil, cmp.Or(s.records.Drop(rec.Network), ErrGone)
	}
	if err != nil {
		return nil, err
	}
	members, err := s.client.Members(ctx, n.ID)
	if err != nil {
		return nil, hinted(err)
	}
	return &Teardown{Title: s.title(n), Plan: controller.PlanTeardown(n, members, rec),
		session: s, record: rec}, nil
}

// Apply carries the plan out, reads back, compares, and drops the record. It can be repeated after
// an interruption. It returns the network's id.
func (d *Teardown) Apply(ctx context.Context) (zerotier.NetworkID, error) {
	s, id := d.session, d.Plan.Network.ID
	if err := inPart(controller.Apply(ctx, s.client, d.Plan)); err != nil {
		return id, hinted(err)
	}
	if !d.Plan.Delete {
		if err := d.verify(ctx); err != nil {
			return id, hinted(err)
		}
	}
	return id, s.records.Drop(id)
}

// verify returns an error if something of the record still stands.
func (d *Teardown) verify(ctx context.Context) error {
	c := d.session.client
	n, err := c.Network(ctx, d.Plan.Network.ID)
	if err != nil {
		return err
	}
	members, err := c.Members(ctx, n.ID)
	if err != nil {
		return err
	}
	again := controller.PlanTeardown(n, members, d.record)
	again.Forget = false // a box that is joined asks again, and is listed again
	return controller.Verify(again)
}
