package web

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/zerotier"
	"ztbridge/bridge/zerotier/controller"
)

// controllerTimeout is how long the page waits for a network's controller. Central asks at times to
// wait for as long.
const controllerTimeout = 25 * time.Second

// networkView is the page of the ZeroTier network's members.
type networkView struct {
	Members []memberRow
	Fault   string
	Token   string
}

// memberRow is a member of the network.
type memberRow struct {
	Address, Name, Detail string
	Exit                  string // empty: none is known
	In, Self, Blocked     bool
}

func (s *Server) routeNetwork(mux *http.ServeMux) {
	mux.HandleFunc("GET /network", s.role(func(w http.ResponseWriter, r *http.Request) {
		s.showNetwork(w, r, nil)
	}, Owner))
	for path, yes := range map[string]bool{"authorize": true, "deauthorize": false} {
		mux.HandleFunc("POST /network/"+path, s.form(
			func(w http.ResponseWriter, r *http.Request) { s.authorize(w, r, yes) }))
	}
	s.routePlans(mux)
}

// hasNetwork reports whether the box is in a ZeroTier network whose controller may be asked.
func (s *Server) hasNetwork() bool {
	return s.config.Tools.Network != nil && len(s.feed.latest().status.Networks) > 0
}

// errNoController says how the page gets to know the members.
var errNoController = &api.HintedError{
	Err:  errors.New("the members are not known here: this needs an API token of ZeroTier Central"),
	Hint: "give it one by \"Set up the network\", or authorise members on Central's own page",
}

// withController has the members asked for or changed, where there is a controller.
func (s *Server) withController(w http.ResponseWriter, r *http.Request,
	do func(context.Context, Network) error) error {
	return s.withNetwork(w, r, controllerTimeout, NetworkOptions{},
		func(ctx context.Context, n Network) error {
			if !n.HasController() {
				return errNoController
			}
			return do(ctx, n)
		})
}

// withNetwork has the controller asked or changed, by one request at a time.
func (s *Server) withNetwork(w http.ResponseWriter, r *http.Request, timeout time.Duration,
	o NetworkOptions, do func(context.Context, Network) error) error {
	if s.config.Tools.Network == nil {
		return errNoController
	}
	if !s.opened.TryLock() {
		return &api.HintedError{Err: errors.New("the network's controller is being asked already"),
			Hint: "try again in a moment"}
	}
	defer s.opened.Unlock()
	control := http.NewResponseController(w)
	_ = control.SetReadDeadline(time.Time{}) // nothing more is read
	_ = control.SetWriteDeadline(time.Now().Add(timeout + ioTimeout))
	// Whoever closes the page in between has still asked for it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), timeout)
	defer cancel()
	n, err := s.config.Tools.Network(ctx, o)
	if err != nil {
		return err
	}
	return do(ctx, n)
}

// showNetwork answers with the members, and what was not done.
func (s *Server) showNetwork(w http.ResponseWriter, r *http.Request, refused error) {
	var members []controller.Member
	var self zerotier.Address
	err := s.withController(w, r, func(ctx context.Context, n Network) (err error) {
		self = n.Self()
		members, err = n.Members(ctx)
		return err //nolint:wrapcheck // says what was tried
	})
	v := networkView{Fault: faultOf(forPage(cmp.Or(refused, err))), Token: sessionOf(r).token}
	for _, m := range members {
		v.Members = append(v.Members, s.memberOf(m, self))
	}
	slices.SortStableFunc(v.Members, func(a, b memberRow) int { // those that wait come first
		return cmp.Or(falseFirst(a.In, b.In), cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.Address, b.Address))
	})
	s.page(w, r, codeOf(refused), "network", frame{Title: "Network", Active: "network", Body: v})
}

// falseFirst orders false before true.
func falseFirst(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

func (s *Server) memberOf(m controller.Member, self zerotier.Address) memberRow {
	row := memberRow{Address: m.Address.String(), Name: cmp.Or(m.Name, m.Address.String()),
		In: m.Authorized, Self: m.Address == self, Detail: m.Address.String()}
	if len(m.Addrs) > 0 {
		row.Detail += " · " + texts(m.Addrs)
	}
	if !m.LastSeen.IsZero() {
		row.Detail += " · last seen " + age(s.config.Now(), m.LastSeen) + " ago"
	}
	if m.Authorized && !row.Self && len(m.Addrs) > 0 {
		row.Exit = s.exitOf(api.Client{Addresses: []netip.Addr{m.Addrs[0]}})
		row.Blocked = row.Exit == "blocked"
	}
	return row
}

// authorize lets a member in, or bars it.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request, yes bool) {
	who, what := r.PostFormValue("member"), "let the member %.20q into the network"
	if !yes {
		what = "bar the member %.20q from the network"
	}
	_, err := zerotier.ParseAddress(who) // a name may be another member's, too
	if err == nil {
		err = s.withController(w, r, func(ctx context.Context, n Network) error {
			_, err := n.Authorize(ctx, who, yes)
			return err //nolint:wrapcheck // says what was tried
		})
	}
	s.record(r, fmt.Sprintf(what, who), err)
	if err != nil {
		s.showNetwork(w, r, err)
		return
	}
	http.Redirect(w, r, "/network", http.StatusSeeOther)
}
