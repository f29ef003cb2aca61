package bridgetest

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"

	"ztbridge/bridge/config"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/zerotier"
	"ztbridge/policyroute"
	"ztbridge/policyroute/kernel"
)

// Network is the id of the ZeroTier network of Uno, Joined and HostState.
const Network = "abcdef0123000001"

// Uno is a configuration with one network and two tunnels, "provider" and "backup".
const Uno = `
zerotier: {networks: [` + Network + `]}
egress:
  provider: {openvpn: {profile: provider.ovpn}}
  backup: {openvpn: {profile: backup.ovpn}}
`

// Parse reads a configuration as a user would have written it. The profiles provider.ovpn and
// backup.ovpn lie beside it.
func Parse(t testing.TB, text string) *config.Config {
	t.Helper()
	dir := t.TempDir()
	for _, name := range []string{"provider.ovpn", "backup.ovpn"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("client\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(dir, "ztbridge.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, _, err := config.Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	return cfg
}

// HostState returns a host with a WAN, a ZeroTier interface and the TUN devices of the named
// tunnels, whose names must be short enough to stand in the device's whole.
func HostState(tunnels ...string) kernel.HostState {
	w := kernel.HostState{
		Links: []kernel.Link{
			{Name: "eth0", Index: 2, Up: true, MTU: 1500,
				Addrs: []netip.Prefix{netip.MustParsePrefix("192.168.1.5/24")}},
			{Name: Iface(), Index: 3, Up: true, MTU: 2800,
				Addrs: []netip.Prefix{netip.MustParsePrefix("10.147.17.1/24")}},
		},
		Defaults: []kernel.DefaultRoute{
			{Family: policyroute.V4, Iface: "eth0", Gateway: netip.MustParseAddr("192.168.1.1")}},
	}
	for i, name := range tunnels {
		w.Links = append(w.Links, kernel.Link{Name: policyroute.TunPrefix + "-" + name,
			Index: 10 + i, Up: true, MTU: 1500})
	}
	return w
}

// Iface returns the interface of Network.
func Iface() string { return networkID().Iface() }

func networkID() zerotier.NetworkID {
	id, err := zerotier.ParseNetworkID(Network)
	if err != nil {
		panic(err) // a constant
	}
	return id
}

// Up returns the status of a tunnel that is connected and has an address.
func Up(addrs ...string) client.Status {
	var of []netip.Prefix
	for _, a := range addrs {
		of = append(of, netip.MustParsePrefix(a))
	}
	return client.Status{State: client.StateUp, Session: &client.Session{
		Addrs: of, MTU: 1500,
		DNS: []netip.Addr{netip.MustParseAddr("10.8.0.1")},
	}}
}

// Joined returns the status of a service that is a member of Network.
func Joined() zerotier.Status {
	return zerotier.Status{Networks: []zerotier.NetworkStatus{{
		ID: networkID(), State: zerotier.NetworkOK, Iface: Iface(), MTU: 2800,
		Prefixes: []netip.Prefix{netip.MustParsePrefix("10.147.17.0/24")},
	}}}
}
