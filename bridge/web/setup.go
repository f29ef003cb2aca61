package web

import (
	"cmp"
	"context"
	"fmt"
	"html/template"
	"net/http"
	"os"
	"slices"
	"strings"

	"ztbridge/bridge/api"
	"ztbridge/bridge/health"
	"ztbridge/bridge/zerotier"
)

// setupPage is where a new owner is led through what a box needs:
//
//	claim ─▶ network ─▶ profile ─▶ devices' traffic ─▶ each device
//
// How far that is, the status says: nothing is remembered, and steps may be taken in any order.
const setupPage = "/setup"

// setupView is that page.
type setupView struct {
	setupLive
	Fault   string
	Network string // the id that is configured, or that was typed
	Instead string // the id that the form replaces; empty: there is none
	Several bool   // networks are configured, or the file names them in its own way
	Manual  string // why nothing can be changed from here
	Token   string
	Address string       // of this page in the network; empty: none yet
	Code    template.URL // the address as a QR code
}

// setupLive is the part that changes by itself.
type setupLive struct{ Steps []setupStep }

// setupStep says how far a step is.
type setupStep struct {
	Name, Title, Text string
	Tone              tone
}

func (s *Server) routeSetup(mux *http.ServeMux) {
	mux.HandleFunc("GET "+setupPage, s.role(func(w http.ResponseWriter, r *http.Request) {
		s.showSetup(w, r, "", nil)
	}, Owner))
	mux.HandleFunc("GET "+setupPage+"/events", s.role(s.setupEvents, Owner))
	mux.HandleFunc("POST "+setupPage+"/network", s.form(s.once(s.joinNetwork)))
}

// unfinished reports whether the box lacks what its owner has to bring.
func unfinished(s api.Status) bool {
	return slices.ContainsFunc(s.Conditions,
		func(c api.Condition) bool { return c.Code == health.NotSetUp })
}

// stepsOf says how far the set-up is.
func stepsOf(s api.Status) []setupStep {
	network, profile := networkStep(s), profileStep(s)
	traffic := setupStep{"traffic", "Traffic of your devices", "Nothing passes before the steps " +
		"above are done.", info}
	if network.Tone == good && profile.Tone == good {
		traffic.Tone, traffic.Text = toneOf(s.State), s.Summary
	}
	return []setupStep{network, profile, traffic}
}

func networkStep(s api.Status) setupStep {
	step := setupStep{"network", "ZeroTier network", "Type the id of your network below.", info}
	for _, n := range s.Networks {
		step.Tone, step.Text = good, fmt.Sprintf("Joined %s as %s.", cmp.Or(n.Title, n.ID),
			texts(n.Addresses))
		if n.Status == api.NetworkDenied {
			step.Tone, step.Text = warn, fmt.Sprintf("Authorise this box, %s, on the network's "+
				"page at https://central.zerotier.com.", n.Member)
			return step
		}
		if problem, ok := problemWith(s, n.Name); ok || len(n.Addresses) == 0 {
			step.Tone, step.Text = warn, cmp.Or(problem, "Waiting for the network's controller.")
			return step
		}
	}
	return step
}

func profileStep(s api.Status) setupStep {
	step := setupStep{"profile", "Profile of your VPN provider", "Upload it.", info}
	for _, e := range s.Egresses {
		if e.Kind != "openvpn" {
			continue
		}
		if e.Usable {
			step.Tone, step.Text = good, fmt.Sprintf("%s is connected, by %s.", e.Name, e.Remote)
			return step
		}
		problem, _ := problemWith(s, e.Name)
		step.Tone, step.Text = warn, cmp.Or(problem, fmt.Sprintf("%s is %s.", e.Name,
			words(e.State)))
	}
	return step
}

// problemWith returns what is wrong with a network or an exit, and what can be done about it. That
// it is of no use yet while others are missing is nothing wrong with it.
func problemWith(s api.Status, subject string) (string, bool) {
	for _, c := range s.Conditions {
		if c.Subject == subject && c.Severity != health.Info && !c.Explained(s.Conditions) {
			return strings.TrimSpace(sentence(c.Message) + ". " + sentence(c.Remedy)), true
		}
	}
	return "", false
}

// showSetup answers with the page; typed is an id that was refused.
func (s *Server) showSetup(w http.ResponseWriter, r *http.Request, typed string, refused error) {
	status := s.config.Backend.Status()
	v := setupView{setupLive: setupLive{stepsOf(status)}, Fault: faultOf(refused), Network: typed,
		Several: len(status.Networks) > 1, Token: sessionOf(r).token}
	if len(status.Networks) == 1 {
		n := status.Networks[0]
		v.Instead, v.Network = n.ID, cmp.Or(typed, n.ID)
		if len(n.Addresses) > 0 {
			v.Address = s.addressAt(n.Addresses[0].Addr().String())
		}
	}
	if _, err := os.Stat(s.config.ImportSocket); err != nil {
		v.Manual = sentence(api.Hint(api.ErrNoImporter))
	}
	if v.Address != "" {
		var err error
		if v.Code, err = picturedCode(v.Address); err != nil {
			s.config.Log.Warn("the page's address has no picture", "error", err)
		}
	}
	s.page(w, r, codeOf(refused), "setup", frame{Title: "Set up", Active: "setup", Body: v})
}

// addressAt returns where the page is at an address of the box.
func (s *Server) addressAt(host string) string {
	if s.covers(host) {
		return s.secureAddress(host)
	}
	return "http://" + withPort(host, s.config.Port, 80)
}

// setupEvents sends how far the set-up is whenever that changes.
func (s *Server) setupEvents(w http.ResponseWriter, r *http.Request) {
	s.stream(w, r, func() []byte {
		if of := s.sessions.of(r); of == nil || of.role != Owner {
			return nil
		}
		return s.fragment("setup", setupLive{stepsOf(s.config.Backend.Status())})
	})
}

// joinNetwork has a network written into the configuration and joined.
func (s *Server) joinNetwork(w http.ResponseWriter, r *http.Request) {
	typed := strings.ToLower(strings.TrimSpace(r.PostFormValue("network")))
	id, err := zerotier.ParseNetworkID(typed)
	if err == nil {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), ioTimeout/2)
		defer cancel()
		request := api.ImportRequest{Verb: api.ImportJoin, Network: id.String(),
			Instead: r.PostFormValue("instead")}
		err = api.Import(ctx, s.config.ImportSocket, request, strings.NewReader(""),
			func(api.Progress) {})
	}
	s.record(r, fmt.Sprintf("join the network %.20q", typed), err)
	if err != nil {
		s.showSetup(w, r, typed, err)
		return
	}
	http.Redirect(w, r, setupPage, http.StatusSeeOther)
}
