package web

import (
	"encoding/base64"
	"errors"
	"fmt"
	"html/template"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"time"

	"rsc.io/qr"

	"ztbridge/bridge/api"
	"ztbridge/bridge/clients"
	"ztbridge/bridge/connlimit"
	"ztbridge/bridge/pki"
)

// clientsView is the page of the endpoint's clients.
type clientsView struct {
	Clients []clientView
	Name    string // that was typed and refused
	Fault   string // why, or why something else was not done
	Owner   bool
	Token   string
}

// clientView is a client of the list.
type clientView struct {
	Name, State, Detail, Exit string
	Tone                      tone
	Blocked                   bool // its traffic is
	Connected                 bool
	Usable                    bool // it has keys to show, and to revoke
}

// keysView is the page by which a client's keys get to its device.
type keysView struct {
	Name, Title string
	NoLink      string       // why there is none
	Code        template.URL // the link as a picture
	Link        string       // for a browser
	Import      string       // for the OpenVPN Connect app; empty: it would refuse it
	Fingerprint string       // of a certificate that nobody vouches for
	Minutes     int          // that the link works
	Advice      []string
	Token       string
}

// routeClients adds the pages about the endpoint's clients.
func (s *Server) routeClients(mux *http.ServeMux) {
	mux.HandleFunc("GET /clients", s.role(s.clientsPage, Owner, Viewer))
	mux.HandleFunc("GET /clients/{name}/profile", s.role(s.downloadProfile, Owner))
	mux.HandleFunc("POST /clients/add", s.form(s.once(s.addClient)))
	mux.HandleFunc("POST /clients/link", s.form(s.once(s.linkClient)))
	mux.HandleFunc("POST /clients/revoke", s.form(s.revokeClient))
}

// roster returns the endpoint's clients; api.ErrNoEndpoint: there is no endpoint.
func (s *Server) roster() (*clients.Roster, error) {
	if s.config.Clients == nil {
		return nil, api.ErrNoEndpoint
	}
	return s.config.Clients()
}

// hasClients reports whether the box has an endpoint.
func (s *Server) hasClients() bool {
	_, err := s.roster()
	return !errors.Is(err, api.ErrNoEndpoint)
}

func (s *Server) clientsPage(w http.ResponseWriter, r *http.Request) {
	s.showClients(w, r, "", nil)
}

// showClients answers with the list of clients, and what was refused.
func (s *Server) showClients(w http.ResponseWriter, r *http.Request, name string, refused error) {
	roster, err := s.roster()
	var list []pki.Client
	if err == nil {
		list, err = roster.List()
	}
	if err != nil {
		s.refuseError(w, r, err)
		return
	}
	of := sessionOf(r)
	v := clientsView{Name: name, Fault: faultOf(refused), Owner: of.role == Owner, Token: of.token}
	status := s.config.Backend.Status()
	for _, c := range list {
		v.Clients = append(v.Clients, s.clientOf(c, roster, status))
	}
	slices.SortStableFunc(v.Clients, func(a, b clientView) int {
		return falseFirst(!a.Usable, !b.Usable) // those come first that can connect
	})
	s.page(w, r, codeOf(refused), "clients", frame{Title: "Clients", Active: "clients", Body: v})
}

func (s *Server) clientOf(c pki.Client, roster *clients.Roster, status api.Status) clientView {
	now := s.config.Now()
	v := clientView{Name: c.Name, Usable: c.Revoked == nil,
		Detail: texts(roster.Addresses(c)) + " · valid until " + c.Expires.Format(time.DateOnly)}
	state := clients.State(c, now)
	if i := slices.IndexFunc(status.Clients,
		func(one api.Client) bool { return one.Name == c.Name }); i >= 0 {
		one := status.Clients[i]
		v.Connected, v.Exit = true, s.exitOf(one)
		v.Blocked = v.Exit == "blocked"
		v.Detail = fmt.Sprintf("%s · by %s from %s for %s", texts(one.Addresses), one.Listener,
			one.Remote, age(status.Time, one.Since))
	}
	switch {
	case state == "revoked":
		v.State, v.Tone = "Revoked", bad
		v.Detail = "since " + c.Revoked.Format(time.DateOnly)
	case state == "expired":
		v.State, v.Tone = "Expired", warn
	case v.Connected:
		v.State, v.Tone = "Connected", good
	default:
		v.State, v.Tone = "Not connected", info
	}
	return v
}

// addClient makes a client, and shows how its keys get to the device.
func (s *Server) addClient(w http.ResponseWriter, r *http.Request) {
	name := r.PostFormValue("name")
	roster, err := s.roster()
	if err == nil {
		_, err = roster.Add(clients.Request{Name: name})
	}
	s.record(r, fmt.Sprintf("add the client %.60q", name), err)
	if err != nil {
		s.showClients(w, r, name, err)
		return
	}
	s.showKeys(w, r, roster, name, name+" is added")
}

// linkClient makes a new link for a client, and shows it.
func (s *Server) linkClient(w http.ResponseWriter, r *http.Request) {
	name := r.PostFormValue("client")
	roster, err := s.roster()
	if err != nil {
		s.refuseError(w, r, err)
		return
	}
	s.showKeys(w, r, roster, name, "Set up "+name)
}

// showKeys opens a one-time link to a client's profile and shows it, with what the person must
// know. Where there can be no link, the profile can still be downloaded here.
func (s *Server) showKeys(w http.ResponseWriter, r *http.Request, roster *clients.Roster,
	name, title string) {
	_, client, err := roster.Profile(name, false)
	if err != nil {
		s.record(r, fmt.Sprintf("make a link to the profile of %.60q", name), err)
		s.showClients(w, r, "", err)
		return
	}
	v := keysView{Name: name, Title: title, Advice: clients.Advice(roster.Told(client)),
		Token: sessionOf(r).token}
	err = s.fillLink(r, &v)
	s.record(r, fmt.Sprintf("make a link to the profile of %.60q", name), err)
	if err != nil {
		v.NoLink = faultOf(err)
	}
	s.page(w, r, http.StatusOK, "keys", frame{Title: title, Active: "clients", Body: v})
}

func (s *Server) fillLink(r *http.Request, v *keysView) error {
	backend, ok := s.config.Backend.(api.EndpointBackend)
	if !ok {
		return api.ErrNoEndpoint
	}
	link, err := backend.Link(r.Context(), api.LinkRequest{Client: v.Name})
	if err != nil {
		return err //nolint:wrapcheck // says what was tried
	}
	text := link.Import
	if link.Fingerprint != "" {
		text = link.URL // the app would refuse it; a browser asks
	} else {
		v.Import = link.Import
	}
	if v.Code, err = picturedCode(text); err != nil {
		return err
	}
	v.Link, v.Fingerprint = link.URL, link.Fingerprint
	v.Minutes = max(1, int(link.Expires.Sub(s.config.Now()).Round(time.Minute)/time.Minute))
	return nil
}

// picturedCode returns a text as a QR code.
func picturedCode(text string) (template.URL, error) {
	code, err := qr.Encode(text, qr.L)
	if err != nil {
		return "", fmt.Errorf("drawing the link: %w", err)
	}
	return template.URL("data:image/png;base64," + //nolint:gosec // a picture made here
		base64.StdEncoding.EncodeToString(code.PNG())), nil
}

// downloadProfile serves a client's profile to the owner. It changes nothing, so that a browser
// that asks twice gets it twice.
func (s *Server) downloadProfile(w http.ResponseWriter, r *http.Request) {
	name := r.PathValue("name")
	roster, err := s.roster()
	var profile []byte
	if err == nil {
		profile, _, err = roster.Profile(name, false)
	}
	if r.Method == http.MethodGet || err != nil {
		s.record(r, fmt.Sprintf("download the profile of %.60q", name), err)
	}
	if err != nil {
		s.refuseError(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/x-openvpn-profile")
	w.Header().Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", name+".ovpn"))
	_, _ = w.Write(profile) // a browser that went away can ask again
}

func (s *Server) revokeClient(w http.ResponseWriter, r *http.Request) {
	name := r.PostFormValue("client")
	roster, err := s.roster()
	if err == nil {
		err = roster.Revoke(name)
	}
	s.record(r, fmt.Sprintf("revoke the client %.60q", name), err)
	if err != nil {
		s.showClients(w, r, "", err)
		return
	}
	http.Redirect(w, r, "/clients", http.StatusSeeOther)
}

// overheard reports whether a request came in clear by the uplink or an interface that is not
// encrypted, where neighbours may read along.
func (s *Server) overheard(r *http.Request) bool {
	at, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok || r.TLS != nil {
		return false
	}
	local, status := connlimit.AddrOf(at), s.config.Backend.Status()
	return slices.Contains(status.WAN.Addresses, local) || slices.ContainsFunc(status.Ingresses,
		func(i api.Ingress) bool {
			return i.Kind == "interface" && slices.ContainsFunc(i.Addresses,
				func(p netip.Prefix) bool { return p.Addr() == local })
		})
}

// saferAddress returns where the page is encrypted by ZeroTier, empty where the box is in no
// network yet.
func (s *Server) saferAddress() string {
	for _, n := range s.config.Backend.Status().Networks {
		if len(n.Addresses) > 0 {
			return s.addressAt(n.Addresses[0].Addr().String())
		}
	}
	return ""
}

// faultOf writes an error and what can be done about it as sentences; nil is empty.
func faultOf(err error) string {
	if err == nil {
		return ""
	}
	text := sentence(err.Error()) + "."
	if hint := api.Hint(err); hint != "" {
		text += " " + sentence(hint) + "."
	}
	return text
}

// codeOf returns the status of a page that shows an error of what a person typed.
func codeOf(err error) int {
	switch {
	case err == nil:
		return http.StatusOK
	case errors.Is(err, api.ErrNotFound):
		return http.StatusNotFound
	}
	return http.StatusUnprocessableEntity
}

// refuseError answers with an error, and what can be done about it.
func (s *Server) refuseError(w http.ResponseWriter, r *http.Request, err error) {
	code := http.StatusInternalServerError
	switch {
	case errors.Is(err, api.ErrNotFound), errors.Is(err, api.ErrNoEndpoint),
		errors.Is(err, api.ErrNobodyTold):
		code = http.StatusNotFound
	case errors.Is(err, api.ErrTestsTooOften):
		code = http.StatusTooManyRequests
	}
	s.refuse(w, r, code, sentence(err.Error())+".", sentence(api.Hint(err)))
}
