package web

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/network"
	"ztbridge/bridge/zerotier/controller"
)

// The pages of what is to be changed at the network's controller. Each is shown first, and carried
// out only as it was shown.
const (
	planPage     = "/network/setup"
	tokenPath    = "/network/token"
	teardownPage = "/network/teardown"
)

// applyTimeout is how long a plan may take: a default route is taken away for some seconds before
// it leads elsewhere, and Central asks at times to wait.
const applyTimeout = 3 * time.Minute

// planView is the page of a plan.
type planView struct {
	Title    string
	Lines    []planLine
	Notes    []string
	Stamp    string // names the plan, so that no other one is carried out
	Empty    bool   // nothing has to be changed
	Teardown bool
	Fault    string

	ID, New  string   // the network that was chosen, or the name of one to be made
	Networks []choice // of the controller, while none is configured
	Steps    []string // what a person does on Central's page without a token
	TakeOver bool     // a default route that leads elsewhere is replaced
	Conflict bool     // there is such a route
	NeedsKey bool     // a token can be entered
	HasKey   bool     // there is one, which can be forgotten

	Unset bool // the box is not set up yet
	Token string
}

// planLine is a line of a plan: "+", "-", or empty where something stays.
type planLine struct{ Sign, Text string }

// choice is a network at the controller.
type choice struct{ ID, Name string }

func (s *Server) routePlans(mux *http.ServeMux) {
	mux.HandleFunc("GET "+planPage, s.role(func(w http.ResponseWriter, r *http.Request) {
		s.showPlan(w, r, nil)
	}, Owner))
	mux.HandleFunc("GET "+teardownPage, s.role(func(w http.ResponseWriter, r *http.Request) {
		s.showTeardown(w, r, nil)
	}, Owner))
	mux.HandleFunc("POST "+planPage, s.form(s.once(s.applyPlan)))
	mux.HandleFunc("POST "+teardownPage, s.form(s.once(s.applyTeardown)))
	mux.HandleFunc("POST "+tokenPath, s.form(s.once(s.enterToken)))
	mux.HandleFunc("POST "+tokenPath+"/forget", s.form(s.forgetToken))
}

// errPlanChanged is shown with a plan that is another than the one that was agreed to.
var errPlanChanged = errors.New("nothing was changed yet: the network is not as it was when you " +
	"looked at the plan. This is the plan now")

// forPage returns an error of a network with the hint that helps on the page, where the command
// line's is another one.
func forPage(err error) error {
	return api.Hints{
		{controller.ErrUnauthorized, "make a new token at https://central.zerotier.com (older " +
			"accounts: https://my.zerotier.com), and enter it by \"Set up the network\""},
		{controller.ErrForbidden, "give the token the right to change this network; the newer " +
			"Central has API keys only in the plan Essential and above. Forget the token by " +
			"\"Set up the network\" to see the steps for Central's own page"},
		{controller.ErrNoController, "default builds of zerotier-one have none since 1.16.0: use " +
			"ZeroTier Central, with a token"},
		{controller.ErrRateLimited, "wait a minute and do the same again: it goes on where it " +
			"stopped"},
		{controller.ErrNotKept, "do the same again; then look at the network's page at Central"},
		{controller.ErrConflict, "if members shall leave by this box instead, tick \"Replace it\""},
		{context.DeadlineExceeded, "do the same again: it goes on where it stopped"},
	}.Add(err)
}

// planOf returns what a request says of the plan.
func planOf(r *http.Request) (NetworkOptions, network.SetupOptions) {
	o := network.SetupOptions{New: strings.TrimSpace(r.FormValue("new")),
		TakeOver: r.FormValue("takeover") != ""}
	return NetworkOptions{ID: strings.ToLower(r.FormValue("network"))}, o
}

// showPlan answers with what setup would change, and what was refused.
func (s *Server) showPlan(w http.ResponseWriter, r *http.Request, refused error) {
	which, o := planOf(r)
	v := planView{ID: which.ID, New: o.New, TakeOver: o.TakeOver}
	err := s.withNetwork(w, r, controllerTimeout, which,
		func(ctx context.Context, n Network) error {
			v.HasKey, v.NeedsKey = n.UsesToken(), !n.UsesToken()
			if !n.HasController() {
				var err error
				v.Steps, err = n.Steps(ctx, o)
				return err
			}
			setup, err := n.PlanSetup(ctx, o)
			if err == nil {
				v.show(setup.Title, setup.Plan)
				v.Empty = v.Empty && !setup.Makes()
			}
			return err
		})
	v.choose(err)
	if err != nil && !v.HasKey && !v.NeedsKey { // it could not be opened: the token may be bad
		v.HasKey, v.NeedsKey = true, true
	}
	if v.Networks != nil {
		err = nil // what it says is a question on the page
	}
	v.Conflict = o.TakeOver || errors.Is(err, controller.ErrConflict)
	s.answerPlan(w, r, v, refused, err)
}

func (s *Server) answerPlan(w http.ResponseWriter, r *http.Request, v planView, refused,
	err error) {
	v.Fault, v.Token = faultOf(forPage(cmp.Or(refused, err))), sessionOf(r).token
	v.Unset = unfinished(s.config.Backend.Status())
	s.page(w, r, codeOf(refused), "plan", frame{Title: "Set up the network", Active: "network",
		Body: v})
}

// show fills in a plan.
func (v *planView) show(title string, plan controller.Plan) {
	v.Title, v.Notes, v.Empty = title, plan.Notes, plan.Empty()
	hash := sha256.New()
	fmt.Fprintln(hash, title)
	for _, text := range plan.Lines() {
		fmt.Fprintln(hash, text)
		sign, rest := strings.TrimSpace(text[:1]), strings.TrimSpace(text[1:])
		v.Lines = append(v.Lines, planLine{sign, rest})
	}
	v.Stamp = hex.EncodeToString(hash.Sum(nil)[:8])
}

// agreed returns errPlanChanged unless a plan is the one that was shown.
func agreed(r *http.Request, title string, plan controller.Plan) error {
	var now planView
	if now.show(title, plan); now.Stamp != r.PostFormValue("stamp") {
		return errPlanChanged
	}
	return nil
}

// choose fills in the networks to choose from, if that is what an error asks for.
func (v *planView) choose(err error) {
	var several *network.ChooseError
	if !errors.As(err, &several) {
		return
	}
	for _, n := range several.Networks {
		v.Networks = append(v.Networks, choice{n.ID.String(), cmp.Or(n.Name, "without a name")})
	}
}

// applyPlan carries a plan out if it is still the one that was shown.
func (s *Server) applyPlan(w http.ResponseWriter, r *http.Request) {
	which, o := planOf(r)
	var done network.Result
	err := s.withNetwork(w, r, applyTimeout, which,
		func(ctx context.Context, n Network) error {
			if !n.HasController() {
				return errNoController
			}
			setup, err := n.PlanSetup(ctx, o)
			if err != nil {
				return err
			}
			if err := agreed(r, setup.Title, setup.Plan); err != nil {
				return err
			}
			done, err = setup.Apply(ctx)
			return err
		})
	s.record(r, "set up the ZeroTier network", err)
	switch {
	case err != nil:
		s.showPlan(w, r, err)
	case done.ByHand:
		s.refuse(w, r, http.StatusOK, "The network "+done.Network.String()+" is set up.",
			"The configuration does not name it yet, and cannot be changed from here: add it "+
				"under `zerotier: networks:`, then run: ztbridge reload")
	case unfinished(s.config.Backend.Status()):
		http.Redirect(w, r, setupPage, http.StatusSeeOther)
	default:
		http.Redirect(w, r, planPage, http.StatusSeeOther)
	}
}

// enterToken keeps a token that ZeroTier Central takes.
func (s *Server) enterToken(w http.ResponseWriter, r *http.Request) {
	which := NetworkOptions{Token: strings.TrimSpace(r.PostFormValue("key"))}
	err := errNoToken
	if which.Token != "" {
		err = s.withNetwork(w, r, controllerTimeout, which,
			func(_ context.Context, n Network) error {
				if n.KeptToken() == "" {
					return errOwnController
				}
				return nil
			})
	}
	s.record(r, "enter an API token of ZeroTier Central", err)
	if err != nil {
		s.showPlan(w, r, err)
		return
	}
	http.Redirect(w, r, planPage, http.StatusSeeOther)
}

// Errors of tokens.
var (
	errNoToken       = errors.New("there is no token in the field")
	errOwnController = errors.New("this box's own zerotier-one is the controller of the network: " +
		"no token is needed, and none was kept")
)

// forgetToken removes the kept token.
func (s *Server) forgetToken(w http.ResponseWriter, r *http.Request) {
	err := error(errNoController)
	if s.config.Tools.ForgetToken != nil {
		err = s.config.Tools.ForgetToken()
	}
	s.record(r, "forget the API token of ZeroTier Central", err)
	if err != nil {
		s.refuseError(w, r, err)
		return
	}
	http.Redirect(w, r, planPage, http.StatusSeeOther)
}

// showTeardown answers with what would be taken back, and what was refused.
func (s *Server) showTeardown(w http.ResponseWriter, r *http.Request, refused error) {
	v := planView{Teardown: true}
	err := s.withController(w, r, func(ctx context.Context, n Network) error {
		plan, err := n.PlanTeardown(ctx)
		if err == nil {
			v.show(plan.Title, plan.Plan)
		}
		return err
	})
	s.answerPlan(w, r, v, refused, err)
}

// applyTeardown takes back what setup added, if that is still what was shown.
func (s *Server) applyTeardown(w http.ResponseWriter, r *http.Request) {
	err := s.withNetwork(w, r, applyTimeout, NetworkOptions{},
		func(ctx context.Context, n Network) error {
			if !n.HasController() {
				return errNoController
			}
			plan, err := n.PlanTeardown(ctx)
			if err != nil {
				return err
			}
			if err := agreed(r, plan.Title, plan.Plan); err != nil {
				return err
			}
			_, err = plan.Apply(ctx)
			return err
		})
	s.record(r, "take the set-up of the ZeroTier network back", err)
	if err != nil {
		s.showTeardown(w, r, err)
		return
	}
	s.refuse(w, r, http.StatusOK, "What setup added to the network is taken back.",
		"The configuration still names the network. Devices do not leave by this box any more.")
}
