package services

import (
	"errors"
	"fmt"

	"ztbridge/bridge/openvpn/endpoint"
	"ztbridge/bridge/pki"
)

// registry shows the key store to the endpoint.
type registry struct {
	*pki.Store
	// settle waits until the kernel's tables know a client's addresses.
	waitForRules func(pki.Client) error
	// told is told each time whether the keys could be had.
	told func(error)
}

// Keys implements endpoint.Registry: it makes and renews what is due.
func (r registry) Keys() (endpoint.Keys, error) {
	keys, err := r.keys()
	r.told(err)
	return keys, err
}

func (r registry) keys() (endpoint.Keys, error) {
	if _, err := r.Ensure(); err != nil {
		return endpoint.Keys{}, err
	}
	s, err := r.Server()
	if err != nil {
		return endpoint.Keys{}, err
	}
	return endpoint.Keys{
		CA: string(s.CA), Cert: string(s.Cert), Key: string(s.Key), CryptV2: string(
			s.CryptV2), CRL: string(s.CRL),
	}, nil
}

// Client implements endpoint.Registry. It returns a client that may connect once the rules that
// name it are in force: until then, a rule for all would send its packets where its own rule does
// not.
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
	return clientOf(c), nil
}

// Clients implements endpoint.Registry.
func (r registry) Clients() (map[string]endpoint.Client, error) {
	list, err := r.Store.Clients()
	if err != nil {
		return nil, err
	}
	out := map[string]endpoint.Client{}
	for _, c := range list {
		out[c.Name] = clientOf(c)
	}
	return out, nil
}

func clientOf(c pki.Client) endpoint.Client {
	return endpoint.Client{
		Name: c.Name, Serial: c.Serial, Host: c.Host, Expires: c.Expires, Revoked: c.Revoked != nil,
		NetworkOnly: c.NetworkOnly, NoDNS: c.NoDNS,
	}
}
