package clients

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/openvpn/endpoint"
	"ztbridge/bridge/pki"
	"ztbridge/bridge/suggest"
)

// Keys returns the endpoint's key store below a state directory.
func Keys(stateDir string) *pki.Store { return pki.New(filepath.Join(stateDir, "pki")) }

// Roster is the endpoint's clients by one configuration. It is immutable and keeps nothing: each
// call reads the key store. Errors are *api.HintedError where something can be done about them.
type Roster struct {
	Endpoint *config.Endpoint
	Pools    []endpoint.Pool // of the listeners, in their order
	cfg      *config.Config
	keys     *pki.Store
}

// Open returns the clients of the configuration's endpoint; api.ErrNoEndpoint: it has none.
func Open(cfg *config.Config, keys *pki.Store) (*Roster, error) {
	if cfg.Endpoint == nil {
		return nil, api.ErrNoEndpoint
	}
	pools, err := endpoint.Divide(cfg.Endpoint.Pool4, cfg.Endpoint.Pool6, len(cfg.Endpoint.Listen))
	if err != nil {
		return nil, fmt.Errorf("dividing the endpoint's pools: %w", err)
	}
	return &Roster{Endpoint: cfg.Endpoint, Pools: pools, cfg: cfg, keys: keys}, nil
}

// Request asks for a new client.
type Request struct {
	Name    string
	Address netip.Addr    // in the pool of one of the listeners; the zero Addr: any
	Life    time.Duration // of the certificate; 0: pki.DefaultClientLife
	pki.Settings
}

// Add makes keys and addresses for a new client. The name of a revoked one may be used again.
func (r *Roster) Add(q Request) (pki.Client, error) {
	if err := pki.CheckName(q.Name); err != nil {
		return pki.Client{}, err
	}
	if err := r.cfg.CheckClientName(q.Name); err != nil {
		return pki.Client{}, &api.HintedError{Err: fmt.Errorf("adding client %s: %w", q.Name, err),
			Hint: "choose another name"}
	}
	host, err := r.host(q.Address)
	if err != nil {
		return pki.Client{}, err
	}
	c, err := r.keys.Add(pki.Request{Name: q.Name, Life: q.Life, Host: host,
		LastHost: r.lastHost(), Settings: q.Settings})
	return c, explain(r.keys, q.Name, err)
}

// lastHost is the highest host number that fits all pools.
func (r *Roster) lastHost() uint32 {
	last := r.Pools[0].LastHost()
	for _, pool := range r.Pools[1:] {
		last = min(last, pool.LastHost())
	}
	return last
}

// host returns the host number that gives a client the address; 0 when none is asked for.
func (r *Roster) host(addr netip.Addr) (uint32, error) {
	if !addr.IsValid() {
		return 0, nil
	}
	var where []string
	for _, pool := range r.Pools {
		if host, ok := pool.Host(addr); ok {
			return host, nil
		}
		where = append(where, pool.V4.String(), pool.V6.String())
	}
	return 0, &api.HintedError{
		Err:  fmt.Errorf("%s is outside the endpoint's pools, or the box's own", addr),
		Hint: "choose one out of " + strings.Join(where, ", "),
	}
}

// Addresses returns a client's addresses in all pools.
func (r *Roster) Addresses(c pki.Client) []netip.Addr {
	out := []netip.Addr{}
	for _, pool := range r.Pools {
		if list, err := pool.Client(c.Host); err == nil { // else the pools were made smaller since
			out = append(out, list...)
		}
	}
	return out
}

// Told returns the settings that a client is told at its next connection, its own or the
// configuration's.
func (r *Roster) Told(c pki.Client) (tunnel string, dns bool) {
	dns = r.Endpoint.Clients.DNS
	if c.DNS != nil {
		dns = *c.DNS
	}
	return cmp.Or(c.Tunnel, string(r.Endpoint.Clients.Tunnel)), dns
}

// Set changes what a client is told at its next connection.
func (r *Roster) Set(name string, change func(*pki.Settings)) (pki.Client, error) {
	c, err := r.keys.Set(name, change)
	return c, explain(r.keys, name, err)
}

// List returns all clients by name, revoked ones too.
func (r *Roster) List() ([]pki.Client, error) {
	list, err := r.keys.Clients()
	return list, Explain(err)
}

// State says in a word what has become of a client: "valid", "expired" or "revoked".
func State(c pki.Client, now time.Time) string {
	switch {
	case c.Revoked != nil:
		return "revoked"
	case !c.Valid(now):
		return "expired"
	}
	return "valid"
}

// Profile returns what a client's app imports, with its keys. tcp leaves UDP out of it.
func (r *Roster) Profile(name string, tcp bool) ([]byte, pki.Client, error) {
	creds, err := r.keys.Credentials(name)
	if err != nil {
		return nil, pki.Client{}, explain(r.keys, name, err)
	}
	var remotes []pki.Remote
	for _, l := range r.Endpoint.Listen {
		if !tcp || l.Proto == "tcp" {
			remotes = append(remotes, pki.Remote{Proto: l.Proto, Port: l.Port})
		}
	}
	if len(remotes) == 0 {
		return nil, pki.Client{}, errNoTCP
	}
	profile, err := pki.Profile(creds, r.Endpoint.Address, remotes)
	return profile, creds.Client, err
}

// Revoke blocks a client permanently. A daemon that runs ends its session within a second.
func (r *Roster) Revoke(name string) error { return Revoke(r.keys, name) }

// errNoTCP refuses a profile for TCP alone where nothing listens by it.
var errNoTCP = &api.HintedError{
	Err:  errors.New("--tcp: endpoint.listen has no TCP listener, such as tcp/443"),
	Hint: "add tcp/443 to `endpoint: {listen: …}`, or leave --tcp out",
}

// Revoke is Roster.Revoke where there need not be an endpoint any more.
func Revoke(keys *pki.Store, name string) error {
	_, err := keys.Revoke(name)
	return explain(keys, name, err)
}

// Advice says what a person must know to import a profile with these settings, one sentence or two
// each.
func Advice(tunnel string, dns bool) []string {
	out := []string{
		"Import the file in OpenVPN Connect, OpenVPN for Android, Tunnelblick or NetworkManager. " +
			"Leave user name and password empty: the file holds the keys.",
		"If the app rejects the file because of \"tls-crypt-v2\", it is too old: it needs " +
			"OpenVPN 2.5 or later inside.",
	}
	if tunnel == pki.TunnelZeroTier {
		out = append(out, "Only traffic for the ZeroTier networks goes through this tunnel. "+
			"NetworkManager must be told: tick \"Use this connection only for resources on its "+
			"network\" under IPv4 and IPv6.")
	}
	if !dns {
		out = append(out, "The device keeps its own DNS servers.")
	}
	return out
}

// explain adds what can be done about an error of the key store that concerns a client.
func explain(keys *pki.Store, name string, err error) error {
	if errors.Is(err, pki.ErrUnknown) {
		return Unknown(keys, name)
	}
	return Explain(err)
}

// Explain adds what can be done about an error of the key store; nil stays nil.
func Explain(err error) error {
	return api.Hints{
		{pki.ErrExists, "choose another name, or revoke that one first"},
		{pki.ErrHostTaken, "`ztbridge client list` shows the addresses in use"},
		{pki.ErrDamaged, "restore it: `ztbridge client import-ca --replace BACKUP`"},
		{pki.ErrPoolFull, "give the endpoint a larger `pool:`"},
	}.Add(err)
}

// Unknown reports that there is no client of that name, and which one may be meant.
func Unknown(keys *pki.Store, name string) error {
	text := fmt.Sprintf("there is no client %.60q", name)
	if list, err := keys.Clients(); err == nil {
		var names []string
		for _, c := range list {
			names = append(names, c.Name)
		}
		if near := suggest.Nearest(name, names); near != "" {
			text += fmt.Sprintf("; did you mean %q?", near)
		}
	}
	return &api.HintedError{Err: api.NotFound(text), Hint: "`ztbridge client list` names them"}
}
