package services

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"

	"ztbridge/bridge/api"
	"ztbridge/bridge/clients"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/onetime"
	"ztbridge/bridge/pki"
)

// openLinks prepares the one-time links behind the first TCP listener. The endpoint works without
// them.
func (e *Endpoint) openLinks() *onetime.Server {
	links, err := e.newLinks()
	if err != nil {
		e.d.env.Logger.Error("no one-time links", "error", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.links, e.noLinks = links, err
	return links
}

// newLinks returns nil if no listener could pass a browser on.
func (e *Endpoint) newLinks() (*onetime.Server, error) {
	i := slices.IndexFunc(e.listeners, func(l decide.Listener) bool { return l.Proto == "tcp" })
	if i < 0 {
		return nil, nil
	}
	https := e.cfg.HTTPS
	c := onetime.Config{
		Listen: netip.MustParseAddrPort("127.0.0.1:0"),
		Host:   e.cfg.Address, Port: e.listeners[i].Port,
		Dir: filepath.Join(e.d.env.StateDir, "links"),
		TLS: onetime.TLS{CertFile: https.Certificate, KeyFile: https.Key}, Log: e.d.env.Logger,
	}
	if a := https.ACME; a != nil {
		c.TLS.ACME = &onetime.ACME{Directory: a.Directory, Email: a.Email,
			CacheDir: acmeDir(e.d.env.StateDir)}
	}
	return onetime.New(c)
}

// acmeDir returns where certificates of an authority are kept.
func acmeDir(stateDir string) string { return filepath.Join(stateDir, "acme") }

// PageCertificate returns the files of the certificate that the page may use, and of its key: the
// endpoint's, where an authority or the operator vouches for it. Both are empty without one.
func (l *Spec) PageCertificate(stateDir string) (certAndKey [2]string) {
	e := l.Config.Endpoint
	if e == nil {
		return certAndKey
	}
	if e.HTTPS.ACME != nil {
		file := onetime.CacheFile(acmeDir(stateDir), e.Address)
		return [2]string{file, file}
	}
	return [2]string{e.HTTPS.Certificate, e.HTTPS.Key}
}

// errNotRunning is the reason for having no links while the whole endpoint fails.
var errNotRunning = errors.New("the endpoint does not run")

// closeLinks records that the server of links has ended with the whole endpoint.
func (e *Endpoint) closeLinks() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.links != nil {
		e.links, e.noLinks = nil, errNotRunning
	}
}

// linksFault returns why no link can be opened although there is a TCP listener. The caller holds
// mu.
func (e *Endpoint) linksFault() error {
	switch {
	case e.links != nil:
		return e.links.Check()
	case errors.Is(e.noLinks, errNotRunning):
		return nil // the fault of the whole endpoint says it
	}
	return e.noLinks
}

// Link opens a one-time link to a client's profile.
func (e *Endpoint) Link(r api.LinkRequest) (api.Link, error) {
	name := r.Client
	e.mu.Lock()
	links, fault := e.links, e.noLinks
	e.mu.Unlock()
	refused := func(err error) error {
		return &api.HintedError{
			Err: fmt.Errorf("opening a link for %q: %w", name, err),
			Hint: "`ztbridge status` says what to do; `ztbridge client show` prints the profile " +
				"itself",
		}
	}
	if links == nil && fault != nil {
		return api.Link{}, refused(fault)
	}
	if links == nil {
		return api.Link{}, &api.HintedError{
			Err: fmt.Errorf("opening a link for %q: the endpoint serves no web pages", name),
			Hint: "links need a TCP listener: `listen: [udp/1194, tcp/443]`; `ztbridge client " +
				"show` prints the profile itself",
		}
	}
	if !slices.ContainsFunc(e.known(), func(c pki.Client) bool {
		return c.Name == name && c.Revoked == nil
	}) {
		return api.Link{}, fmt.Errorf("opening a link for %q: %w", name, api.ErrNotFound)
	}
	roster, err := e.roster()
	if err != nil {
		return api.Link{}, err
	}
	profile, client, err := roster.Profile(name, r.TCP)
	if err != nil {
		return api.Link{}, err
	}
	link, err := links.Issue(name, profile, func() bool { return e.unchanged(client) })
	if err != nil {
		return api.Link{}, refused(err)
	}
	return api.Link{URL: link.URL, Import: link.Import, Expires: link.Expires,
		Fingerprint: link.Fingerprint}, nil
}

// roster returns the clients by the configuration in force.
func (e *Endpoint) roster() (*clients.Roster, error) {
	return clients.Open(e.whole.Load(), e.store)
}

// unchanged reports whether a client is still the same. It is not if it was revoked, issued again,
// or lost with a replaced key store. It asks the store, so that a command's change counts at once.
func (e *Endpoint) unchanged(was pki.Client) bool {
	now, err := e.store.Client(was.Name)
	return err == nil && now.Serial == was.Serial && now.Revoked == nil
}
