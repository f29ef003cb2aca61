package services

import (
	"cmp"
	"errors"
	"fmt"
	"time"

	"ztbridge/bridge/config"
	"ztbridge/bridge/openvpn/endpoint"
	"ztbridge/bridge/pki"
)

// registry gives the endpoint access to the key store.
type registry struct {
	*pki.Store
	// defaults returns the settings of clients without settings of their own.
	defaults func() config.ClientDefaults
	// waitForRules blocks until the kernel's tables know a client's addresses.
	waitForRules func(pki.Client) error
	// told receives the result of each attempt to read the keys, authority its validity then.
	told      func(error)
	authority func(from, until time.Time)
}

// Keys implements endpoint.Registry: it makes and renews keys that are due.
func (r registry) Keys() (endpoint.Keys, error) {
	keys, err := r.keys()
	r.told(err)
	return keys, err
}

func (r registry) keys() (endpoint.Keys, error) {
	d := r.defaults()
	if err := r.FollowDefaults(pki.Settings{Tunnel: string(d.Tunnel), DNS: &d.DNS}); err != nil {
		return endpoint.Keys{}, err
	}
	if _, err := r.Ensure(); err != nil {
		return endpoint.Keys{}, err
	}
	s, err := r.Server()
	if err != nil {
		return endpoint.Keys{}, err
	}
	r.authority(s.CAFrom, s.CAUntil)
	return endpoint.Keys{
		CA: string(s.CA), Cert: string(s.Cert), Key: string(s.Key),
		CryptV2: string(s.CryptV2), CRL: string(s.CRL),
	}, nil
}

// Client implements endpoint.Registry. It returns a client that may connect, once the rules that
// name it are in force: until then, a general rule would route its packets wrongly.
func (r registry) Client(name string) (endpoint.Client, error) {
	c, err := r.Store.Client(name)
	if errors.Is(err, pki.ErrUnknown) {
		return endpoint.Client{}, endpoint.ErrUnknownClient
	}
	if err != nil {
		return endpoint.Client{}, err
	}
	if c.Revoked == nil {
		if err := r.waitForRules(c); err != nil {
			return endpoint.Client{}, fmt.Errorf("%w: %w", endpoint.ErrNotReady, err)
		}
	}
	return clientOf(c, r.defaults()), nil
}

// Clients implements endpoint.Registry.
func (r registry) Clients() (map[string]endpoint.Client, error) {
	list, err := r.Store.Clients()
	if err != nil {
		return nil, err
	}
	defaults, out := r.defaults(), map[string]endpoint.Client{}
	for _, c := range list {
		out[c.Name] = clientOf(c, defaults)
	}
	return out, nil
}

// clientOf returns a client with its settings, or with the defaults if it has none.
func clientOf(c pki.Client, d config.ClientDefaults) endpoint.Client {
	dns := d.DNS
	if c.DNS != nil {
		dns = *c.DNS
	}
	return endpoint.Client{
		Name: c.Name, Serial: c.Serial, Host: c.Host, Expires: c.Expires, Revoked: c.Revoked != nil,
		NetworkOnly: cmp.Or(c.Tunnel, string(d.Tunnel)) == pki.TunnelZeroTier, NoDNS: !dns,
	}
}
