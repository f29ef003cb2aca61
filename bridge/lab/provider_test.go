package lab

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ztbridge/policyroute/netlab"
)

// A client of the provider, started by hand with its own profile, reaches the Internet through it.
func TestProviderCarriesPackets(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		opts ProviderOptions
	}{
		{"certificate over UDP", ProviderOptions{}},
		{"password over TCP", ProviderOptions{Protos: []Proto{OverTCP},
			Credentials: &Credentials{"alice", "s e\"cret"}}},
		{"both transports", ProviderOptions{Protos: []Proto{OverTCP, OverUDP}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			top := ForTest(t, Options{Providers: []ProviderOptions{tt.opts}})
			p := top.Providers[0]
			startCustomer(t, top, p, tt.opts.Credentials)

			var tun *netlab.Capture
			await(t, "the tunnel's device", func() (ok bool) {
				c, err := top.Box.Capture("tun0", netlab.Carrying(top.HostMarker))
				tun = c
				return err == nil
			})
			for _, v := range []Version{IPv4, IPv6} {
				s, err := top.BoxStream(UDP, v, 100)
				must(t, err)
				want := v.pick(p.Public4[0], p.Public6[0])
				await(t, "packets seen as "+want.String(),
					func() bool { return s.Report().Egresses()[want] >= 20 })
				s.Stop()
			}
			must(t, tun.Stop())
			seen, err := tun.Result()
			must(t, err)
			if seen.Matched < 80 { // 20 rounds in each version
				t.Errorf("capture on the tunnel: %s", seen)
			}
			for _, packet := range seen.Kept {
				if packet.Proto != "udp" || packet.SrcPort != EchoPort &&
					packet.DstPort != EchoPort {
					t.Fatalf("the capture on a device without Ethernet took for %s", packet)
				}
			}
			customers, err := p.Customers()
			must(t, err)
			if len(customers) != 1 || !p.pool4.Contains(customers[0]) && len(tt.opts.Protos) < 2 {
				t.Errorf("customers: %v", customers)
			}
		})
	}
}

// startCustomer runs a plain openvpn in the box with the provider's profile.
func startCustomer(t *testing.T, top *Topology, p *Provider, c *Credentials) *netlab.Process {
	t.Helper()
	profile := filepath.Join(t.TempDir(), "p.ovpn")
	must(t, os.WriteFile(profile, []byte(p.Config()), 0o600))
	cmd := netlab.Command("openvpn", "--config", profile, "--connect-retry", "1")
	if c != nil {
		auth := filepath.Join(t.TempDir(), "auth")
		must(t, os.WriteFile(auth, []byte(c.User+"\n"+c.Password+"\n"), 0o600))
		cmd.Args = append(cmd.Args, "--auth-user-pass", auth)
	}
	proc, err := top.Box.Start(cmd)
	must(t, err)
	return proc
}

func TestProviderRejects(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name    string
		spoil   func(*Provider) error
		creds   *Credentials
		restart bool
		want    string // in the client's log
	}{
		{"wrong password", func(p *Provider) error {
			return p.SetCredentials(Credentials{"alice", "changed"})
		},
			&Credentials{"alice", "secret"}, false, "AUTH_FAILED"},
		{"expired server certificate",
			func(p *Provider) error { return p.SetServerCertificate(time.Now().Add(-time.Hour)) },
			nil, true, "certificate has expired"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			top := ForTest(t, Options{Providers: []ProviderOptions{{Credentials: tt.creds}}})
			p := top.Providers[0]
			must(t, tt.spoil(p))
			if tt.restart {
				must(t, p.Restart(t.Context()))
			}
			proc := startCustomer(t, top, p, tt.creds)
			await(t, tt.want, func() bool { return strings.Contains(proc.Log(), tt.want) })
		})
	}
}

func TestProviderPoolAndPushChange(t *testing.T) {
	t.Parallel()
	top := ForTest(t, Options{})
	p := top.Providers[0]
	p.SetPool(netip.MustParsePrefix("192.168.50.64/26"), netip.MustParsePrefix("fd50:1::/64"))
	p.Push(HostileOptions(LANNet4)...)
	must(t, p.Restart(t.Context()))
	proc := startCustomer(t, top, p, nil)
	await(t, "a customer in the new pool", func() bool {
		customers, err := p.Customers()
		return err == nil && len(customers) == 1 && p.pool4.Contains(customers[0])
	})
	await(t, "a hostile option to arrive",
		func() bool { return strings.Contains(proc.Log(), "evil.example") })
}
