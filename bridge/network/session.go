package network

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/zerotier"
	"ztbridge/bridge/zerotier/controller"
)

// Options say which box, which network, and how its controller is reached.
type Options struct {
	ConfigPath string
	StateDir   string // keeps the token and the record of what setup added
	Overrides  config.Overrides
	// Network is the id of the network; empty: the only one that the configuration or the record of
	// an earlier setup names.
	Network string
	// Controller is the kind of controller; empty: found out.
	Controller controller.Kind
	// CentralV1 and CentralV2 are the base addresses of ZeroTier Central's APIs.
	CentralV1, CentralV2 string
	// Token is an API token of ZeroTier Central; empty: the kept one. One that Central accepts is
	// kept.
	Token string
	// AskToken returns the token that a person types when there is none; empty: nobody answers. It
	// may be nil.
	AskToken func() (string, error)
	// Waiting hears of a pause that the controller asks for. It may be nil.
	Waiting controller.Waiting
	// Configure writes the id of a network that was set up into the configuration, and reports
	// whether that changed it; config.ErrByHand: a person has to. nil: the file is written.
	Configure func(ctx context.Context, id string) (changed bool, err error)
}

// Session is one look at a network and its controller. It is not safe for concurrent use: two that
// change things at once would each lose the other's record.
type Session struct {
	options Options
	client  controller.Client // nil: there is no token, and no controller on this box
	local   *zerotier.Local
	self    zerotier.Address
	records *controller.Records
	id      zerotier.NetworkID // zero: none is configured
	kept    bool               // this call of Open kept the token
}

// Open finds the box, its network and the controller. It blocks for the answers of zerotier-one and
// the controller, and changes nothing but the kept token.
func Open(ctx context.Context, o Options) (*Session, error) {
	home, configured, err := config.ZeroTierOf(o.ConfigPath)
	if err != nil {
		return nil, err
	}
	s := &Session{options: o, local: zerotier.NewLocal(home)}
	if s.self, _, err = s.local.Node(ctx); err != nil {
		return nil, &api.HintedError{Err: err,
			Hint: "start zerotier-one: systemctl enable --now zerotier-one; run this as root"}
	}
	if s.records, err = controller.ReadRecords(o.StateDir); err != nil {
		return nil, err
	}
	if s.id, err = chooseNetwork(o.Network, configured, s.records); err != nil {
		return nil, err
	}
	if err = s.chooseController(ctx); err != nil {
		return nil, hinted(err)
	}
	return s, nil
}

// HasController reports whether the network can be read and changed: there is a token, or a
// controller on this box. Without it only Steps works.
func (s *Session) HasController() bool { return s.client != nil }

// UsesToken reports whether the controller is ZeroTier Central.
func (s *Session) UsesToken() bool {
	return s.client != nil && s.client.Kind() != controller.OnBox
}

// KeptToken returns the file in which Open kept a new token, empty if it kept none.
func (s *Session) KeptToken() string {
	if !s.kept {
		return ""
	}
	return tokenPath(s.options.StateDir)
}

// Self returns the box's own ZeroTier address.
func (s *Session) Self() zerotier.Address { return s.self }

// chooseNetwork returns the network that is meant: the one asked for, or the only one that the
// configuration or the record of an earlier setup names; zero if there is none.
func chooseNetwork(asked string, configured []string,
	records *controller.Records) (zerotier.NetworkID, error) {
	if asked != "" {
		return zerotier.ParseNetworkID(asked)
	}
	if len(configured) == 0 && len(records.Networks) == 1 {
		return records.Networks[0].Network, nil
	}
	switch len(configured) {
	case 0:
		return 0, nil
	case 1:
		return zerotier.ParseNetworkID(configured[0])
	}
	return 0, &api.HintedError{Err: errors.New("the configuration names several networks"),
		Hint: "say which: --network " + strings.Join(configured, " or --network ")}
}

// chooseController sets the controller that is asked for, else the one of an earlier setup, else
// the box's own if it governs the network or there is no token; none if there is none.
func (s *Session) chooseController(ctx context.Context) (err error) {
	kind := s.options.Controller
	if !slices.Contains([]controller.Kind{"", controller.CentralV1, controller.CentralV2,
		controller.OnBox}, kind) {
		return fmt.Errorf("--controller %s: want %s, %s or %s", kind, controller.CentralV1,
			controller.CentralV2, controller.OnBox)
	}
	if rec, ok := s.records.Of(s.id); ok && kind == "" {
		kind = rec.Controller
	}
	if kind == "" && s.id != 0 && s.id.Controller() == s.self {
		kind = controller.OnBox
	}
	if kind == controller.OnBox {
		s.client, err = controller.NewOnBox(ctx, s.local)
		return err
	}
	token, kept, err := s.token()
	if token == "" && err == nil && s.id == 0 && kind == "" {
		s.client, err = controller.NewOnBox(ctx, s.local)
		if !errors.Is(err, controller.ErrNoController) {
			return err
		}
		s.client, err = nil, nil
	}
	if token == "" && err == nil && s.options.AskToken != nil {
		token, err = s.options.AskToken()
	}
	if token == "" || err != nil {
		return err
	}
	if s.client, err = s.central(ctx, kind, token); err != nil || kept {
		return err
	}
	if kind != "" { // nobody has asked Central yet
		_, err := s.client.Networks(ctx)
		if err != nil && !errors.Is(err, controller.ErrForbidden) {
			return err
		}
	}
	s.kept = true
	return keepToken(s.options.StateDir, token)
}

// central returns a client of ZeroTier Central; the zero kind is found out.
func (s *Session) central(ctx context.Context, kind controller.Kind,
	token string) (controller.Client, error) {
	o := s.options
	switch kind {
	case controller.CentralV1:
		return controller.NewCentralV1(o.CentralV1, token, o.Waiting), nil
	case controller.CentralV2:
		return controller.NewCentralV2(o.CentralV2, token, o.Waiting), nil
	}
	return controller.DetectCentral(ctx, o.CentralV1, o.CentralV2, token, o.Waiting)
}

// existing returns the network that the session is about, or an error that says how to choose one.
func (s *Session) existing(ctx context.Context) (controller.Network, error) {
	if s.client == nil {
		return controller.Network{}, errNoToken
	}
	if s.id == 0 {
		return controller.Network{}, &api.HintedError{
			Err:  errors.New("no network is configured"),
			Hint: "say which: --network ID; or make one: ztbridge network setup"}
	}
	n, err := s.client.Network(ctx, s.id)
	return n, hinted(err)
}

// title names a network and where it is controlled.
func (s *Session) title(n controller.Network) string {
	return networkTitle(n) + " at " + where(s.client)
}

func networkTitle(n controller.Network) string {
	if n.ID == 0 {
		return fmt.Sprintf("New network %q", n.Name)
	}
	return fmt.Sprintf("Network %s %q", n.ID, n.Name)
}

// where names a controller in a sentence.
func where(c controller.Client) string {
	switch c.Kind() {
	case controller.CentralV1:
		return "ZeroTier Central (API v1)"
	case controller.CentralV2:
		return "ZeroTier Central (API v2)"
	}
	return "the controller on this box"
}
