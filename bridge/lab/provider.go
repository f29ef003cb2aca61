package lab

import (
	"bufio"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ztbridge/policyroute/netlab"
)

// Proto is a transport of OpenVPN.
type Proto string

// The transports that a provider offers.
const (
	OverUDP Proto = "udp"
	OverTCP Proto = "tcp"
)

// port returns where the provider listens.
func (p Proto) port() int {
	if p == OverTCP {
		return 443
	}
	return 1194
}

// Credentials are a customer's name and password at a provider.
type Credentials struct{ User, Password string }

// ProviderOptions describe a provider. The zero value is one that offers UDP with IPv6 inside and
// authenticates customers by certificate.
type ProviderOptions struct {
	Protos      []Proto      // in the order of the profile; none means OverUDP
	Credentials *Credentials // if set: name and password instead of a client certificate
	IPv4Only    bool         // no IPv6 inside the tunnel
}

// Provider is a VPN provider's host. It has two public addresses, real OpenVPN servers, resolvers
// of its own, and NAT to the Internet. What its customers send is seen on the Internet as coming
// from Public4[0] or Public6[0].
type Provider struct {
	NS      *netlab.Namespace
	Name    string
	Hosts   []string // the names in the profile, one for each public address
	Public4 []netip.Addr
	Public6 []netip.Addr
	DNS     *DNSServer // reached by customers at the first address of the pool

	opts    ProviderOptions
	dir     string
	ca      *authority
	client  keyPair
	tlsKey  string
	pool4   netip.Prefix
	pool6   netip.Prefix
	push    []string
	servers []*netlab.Process
}

// newProvider prepares a provider in a host that is connected already, by the given interface.
func newProvider(ns *netlab.Namespace, iface string, opts ProviderOptions,
	dir string) (*Provider, error) {
	if len(opts.Protos) == 0 {
		opts.Protos = []Proto{OverUDP}
	}
	p := &Provider{NS: ns, Name: ns.Label, opts: opts, dir: filepath.Join(dir, ns.Label),
		tlsKey: staticKey()}
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the directory of %s: %w", p.Name, err)
	}
	var err error
	if p.ca, err = newAuthority(p.Name); err != nil {
		return nil, err
	}
	if p.client, err = p.ca.issue("customer", x509.ExtKeyUsageClientAuth,
		time.Now().Add(12*time.Hour)); err != nil {
		return nil, err
	}
	if err := p.SetServerCertificate(time.Now().Add(12 * time.Hour)); err != nil {
		return nil, err
	}
	files := map[string]string{"ca.pem": p.ca.pem, "tls.key": p.tlsKey, "check": checkScript}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(content), 0o700); err != nil {
			return nil, fmt.Errorf("writing %s of %s: %w", name, p.Name, err)
		}
	}
	if opts.Credentials != nil {
		if err := p.SetCredentials(*opts.Credentials); err != nil {
			return nil, err
		}
	}
	return p, errors.Join(ns.Forwarding(), ns.Masquerade(iface))
}

// checkScript compares the file that OpenVPN gives with the file of the right credentials beside
// it.
const checkScript = `#!/bin/sh
exec cmp -s "$1" "$(dirname "$0")/credentials"
`

// Config returns a customer's profile as the provider hands it out: two hosts by name for each
// transport, everything inline.
func (p *Provider) Config() string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\nclient\ndev tun\n", p.Name)
	for _, proto := range p.opts.Protos {
		for _, host := range p.Hosts {
			fmt.Fprintf(&b, "remote %s %d %s\n", host, proto.port(), proto)
		}
	}
	b.WriteString(
		"nobind\nresolv-retry infinite\npersist-key\npersist-tun\nremote-cert-tls server\n" +
			"data-ciphers AES-256-GCM:CHACHA20-POLY1305\nverb 3\n")
	blocks := []string{"ca", p.ca.pem, "tls-crypt", p.tlsKey}
	if p.opts.Credentials != nil {
		b.WriteString("auth-user-pass\n")
	} else {
		blocks = append(blocks, "cert", p.client.cert, "key", p.client.key)
	}
	for i := 0; i < len(blocks); i += 2 {
		fmt.Fprintf(&b, "<%[1]s>\n%[2]s</%[1]s>\n", blocks[i], blocks[i+1])
	}
	return b.String()
}

// SetClientCertificate replaces the certificate in profiles made from now on. The new one is valid
// until end, which may have passed.
func (p *Provider) SetClientCertificate(end time.Time) (err error) {
	p.client, err = p.ca.issue("customer", x509.ExtKeyUsageClientAuth, end)
	return err
}

// SetServerCertificate replaces the server's certificate by one that is valid until end, which may
// have passed. It is used from the next Start on.
func (p *Provider) SetServerCertificate(end time.Time) error {
	pair, err := p.ca.issue(p.Name, x509.ExtKeyUsageServerAuth, end)
	if err != nil {
		return err
	}
	for name, content := range map[string]string{"server.pem": pair.cert, "server.key": pair.key} {
		if err := os.WriteFile(filepath.Join(p.dir, name), []byte(content), 0o600); err != nil {
			return fmt.Errorf("writing %s of %s: %w", name, p.Name, err)
		}
	}
	return nil
}

// SetCredentials changes what the provider accepts, at once.
func (p *Provider) SetCredentials(c Credentials) error {
	text := c.User + "\n" + c.Password + "\n"
	if err := os.WriteFile(filepath.Join(p.dir, "credentials"), []byte(text), 0o600); err != nil {
		return fmt.Errorf("writing the credentials of %s: %w", p.Name, err)
	}
	return nil
}

// SetPool changes the customers' addresses from the next Start on. The provider's own is the first
// of each prefix. With several transports, each gets a prefix of the same length, one after the
// other.
func (p *Provider) SetPool(v4, v6 netip.Prefix) { p.pool4, p.pool6 = v4.Masked(), v6.Masked() }

// Push adds options that are pushed to customers from the next Start on: "route 10.0.0.0
// 255.0.0.0". Those of an earlier call are replaced.
func (p *Provider) Push(options ...string) { p.push = options }

// Resolver returns the provider's resolver as customers reach it.
func (p *Provider) Resolver() netip.Addr { return p.pool4.Addr().Next() }

// Inside reports whether an address is a customer's, as the provider's own resolver sees it.
func (p *Provider) Inside(a netip.Addr) bool {
	for i := range p.opts.Protos {
		if nthSubnet(p.pool4, i).Contains(a) || nthSubnet(p.pool6, i).Contains(a) {
			return true
		}
	}
	return false
}

// Start runs the servers and returns when they serve.
func (p *Provider) Start(ctx context.Context) error {
	for i, proto := range p.opts.Protos {
		config := filepath.Join(p.dir, string(proto)+".conf")
		if err := os.WriteFile(config, []byte(p.serverConfig(i)), 0o600); err != nil {
			return fmt.Errorf("writing the configuration of %s: %w", p.Name, err)
		}
		if err := os.RemoveAll(p.socket(proto)); err != nil {
			return fmt.Errorf("removing an old socket: %w", err)
		}
		server, err := p.NS.Start(netlab.Command("openvpn", "--config", config))
		if err != nil {
			return err
		}
		p.servers = append(p.servers, server)
		if err := p.awaitServing(ctx, proto, server); err != nil {
			return err
		}
	}
	return nil
}

// Stop ends the servers without a word to their customers.
func (p *Provider) Stop() {
	for _, s := range p.servers {
		s.Stop()
	}
	p.servers = nil
}

// Kill kills the servers.
func (p *Provider) Kill() {
	for _, s := range p.servers {
		s.Kill()
	}
	p.servers = nil
}

// Restart kills the servers and starts them.
func (p *Provider) Restart(ctx context.Context) error {
	p.Kill()
	return p.Start(ctx)
}

// Blackhole cuts the provider's host off, silently; Heal ends it.
func (p *Provider) Blackhole() error { return p.NS.Blackhole("eth0") }

// Heal ends Blackhole.
func (p *Provider) Heal() error { return p.NS.Heal("eth0") }

// Log returns the end of what the servers wrote.
func (p *Provider) Log() string {
	var b strings.Builder
	for _, s := range p.servers {
		b.WriteString(s.Log())
	}
	return b.String()
}

func (p *Provider) socket(proto Proto) string { return filepath.Join(p.dir, string(proto)+".sock") }

// awaitServing waits until the management interface says that the server has finished its start.
func (p *Provider) awaitServing(ctx context.Context, proto Proto, server *netlab.Process) error {
	for {
		lines, err := p.manage(proto, "state")
		if err == nil && len(lines) > 0 && strings.Contains(lines[len(lines)-1], ",CONNECTED,") {
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-server.Done():
			return fmt.Errorf("starting the server of %s: it ended:\n%s", p.Name, server.Log())
		case <-ctx.Done():
			return fmt.Errorf("starting the server of %s: %w:\n%s", p.Name, ctx.Err(), server.Log())
		}
	}
}

// Customers returns the addresses inside the tunnels of the customers that are connected now.
func (p *Provider) Customers() ([]netip.Addr, error) {
	var addrs []netip.Addr
	err := p.eachSession(func(_ Proto, fields []string) error {
		if a, err := netip.ParseAddr(fields[3]); err == nil {
			addrs = append(addrs, a)
		}
		return nil
	})
	return addrs, err
}

// Disconnect ends the sessions of all customers, as an administrator would: they are told to
// connect again.
func (p *Provider) Disconnect() error {
	return p.eachSession(func(proto Proto, fields []string) error {
		_, err := p.manage(proto, "client-kill "+fields[10])
		return err
	})
}

// eachSession calls do with the fields of each customer's session, until it fails:
//
//	CLIENT_LIST,common name,real address,virtual address,virtual IPv6 address,bytes received,
//	bytes sent,since,since as a number,user name,client id,…
func (p *Provider) eachSession(do func(proto Proto, fields []string) error) error {
	for _, proto := range p.opts.Protos {
		lines, err := p.manage(proto, "status 2")
		if err != nil {
			return err
		}
		for _, line := range lines {
			fields := strings.Split(line, ",")
			if len(fields) < 11 || fields[0] != "CLIENT_LIST" {
				continue
			}
			if err := do(proto, fields); err != nil {
				return err
			}
		}
	}
	return nil
}

// manage sends one command to a server's management interface and returns the lines of the answer.
func (p *Provider) manage(proto Proto, command string) ([]string, error) {
	conn, err := net.DialTimeout("unix", p.socket(proto), time.Second)
	if err != nil {
		return nil, fmt.Errorf("asking the server of %s: %w", p.Name, err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(3 * time.Second)); err != nil {
		return nil, fmt.Errorf("asking the server of %s: %w", p.Name, err)
	}
	if _, err := fmt.Fprintln(conn, command); err != nil {
		return nil, fmt.Errorf("asking the server of %s: %w", p.Name, err)
	}
	var lines []string
	for scanner := bufio.NewScanner(conn); scanner.Scan(); {
		line := scanner.Text()
		switch word, _, _ := strings.Cut(line, ":"); word {
		case "END", "SUCCESS":
			return lines, nil
		case "ERROR":
			return nil, fmt.Errorf("telling the server of %s %q: %s", p.Name, command, line)
		}
		if !strings.HasPrefix(line, ">") { // a notification
			lines = append(lines, line)
		}
	}
	return nil, fmt.Errorf("asking the server of %s: no answer to %q", p.Name, command)
}
