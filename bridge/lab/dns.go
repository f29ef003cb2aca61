package lab

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"

	"ztbridge/policyroute/netlab"
)

// WhoZone is the zone below which every name resolves to the address that the question came from.
const WhoZone = "who.lab."

// Zone is the lab's names, shared by its DNS servers. It may be changed at any time.
type Zone struct {
	mu    sync.Mutex
	names map[string][]netip.Addr
}

// NewZone returns an empty zone.
func NewZone() *Zone { return &Zone{names: make(map[string][]netip.Addr)} }

// Set gives a name its addresses, both families mixed; none removes it.
func (z *Zone) Set(name string, addrs ...netip.Addr) {
	z.mu.Lock()
	defer z.mu.Unlock()
	key := dns.Fqdn(strings.ToLower(name))
	if len(addrs) == 0 {
		delete(z.names, key)
		return
	}
	z.names[key] = addrs
}

func (z *Zone) lookup(name string) ([]netip.Addr, bool) {
	z.mu.Lock()
	defer z.mu.Unlock()
	addrs, ok := z.names[strings.ToLower(name)]
	return addrs, ok
}

// DNSServer answers for the names of a zone and for WhoZone, over UDP and TCP on port 53.
type DNSServer struct {
	name    string
	zone    *Zone
	servers []*dns.Server
	wg      sync.WaitGroup

	mu      sync.Mutex
	silent  bool
	alike   netip.Addr
	queries []Query
}

// Query is a question that a DNS server was asked.
type Query struct {
	Name   string // lower case, with the final dot
	Source netip.Addr
}

// queryLimit bounds the questions that are remembered.
const queryLimit = 100_000

// ServeDNS answers on all addresses of the host. The name is what the server says of itself when it
// is asked for TXT below WhoZone.
func ServeDNS(n *netlab.Namespace, name string, zone *Zone) (*DNSServer, error) {
	s := &DNSServer{name: name, zone: zone}
	pc, err := n.ListenPacket("udp", "[::]:53")
	if err != nil {
		return nil, fmt.Errorf("serving DNS in %s: %w", n.Label, err)
	}
	l, err := n.Listen("tcp", "[::]:53")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("serving DNS in %s: %w", n.Label, err), pc.Close())
	}
	s.serve(&dns.Server{PacketConn: pc, Handler: s})
	s.serve(&dns.Server{Listener: l, Handler: s})
	return s, nil
}

// serve starts a server and returns when it serves.
func (s *DNSServer) serve(srv *dns.Server) {
	started := make(chan struct{})
	srv.NotifyStartedFunc = func() { close(started) }
	s.servers = append(s.servers, srv)
	s.wg.Go(func() { _ = srv.ActivateAndServe() }) // ends with Shutdown
	<-started
}

// ServeDNSOverTLS answers on port 853 of all addresses of the host, under the given host name. It
// returns the certificate of the authority that signed the host's, in PEM.
func ServeDNSOverTLS(n *netlab.Namespace, name string, zone *Zone) (s *DNSServer, ca string,
	err error) {
	authority, err := newAuthority(name)
	if err != nil {
		return nil, "", err
	}
	pair, err := authority.issue(name, x509.ExtKeyUsageServerAuth, time.Now().Add(12*time.Hour),
		name)
	if err != nil {
		return nil, "", err
	}
	cert, err := tls.X509KeyPair([]byte(pair.cert), []byte(pair.key))
	if err != nil {
		return nil, "", fmt.Errorf("loading the certificate of %s: %w", name, err)
	}
	l, err := n.Listen("tcp", "[::]:853")
	if err != nil {
		return nil, "", fmt.Errorf("serving DNS over TLS in %s: %w", n.Label, err)
	}
	s = &DNSServer{name: name, zone: zone}
	s.serve(&dns.Server{Listener: tls.NewListener(l,
		&tls.Config{Certificates: []tls.Certificate{cert}}), Handler: s})
	return s, authority.pem, nil
}

// Close ends the server.
func (s *DNSServer) Close() error {
	var errs []error
	for _, srv := range s.servers {
		errs = append(errs, srv.Shutdown())
	}
	s.wg.Wait()
	return errors.Join(errs...)
}

// SetSilent makes the server swallow all questions, or answer them again.
func (s *DNSServer) SetSilent(silent bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.silent = silent
}

// SetAlike makes the server give every name one address, as networks do that want a sign-in; the
// zero Addr ends it.
func (s *DNSServer) SetAlike(a netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.alike = a
}

// Queries returns the questions asked so far.
func (s *DNSServer) Queries() []Query {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Query(nil), s.queries...)
}

// ServeDNS implements dns.Handler.
func (s *DNSServer) ServeDNS(w dns.ResponseWriter, req *dns.Msg) {
	source := remoteAddr(w.RemoteAddr())
	if len(req.Question) != 1 || !s.record(req.Question[0].Name, source) {
		return
	}
	q := req.Question[0]
	m := new(dns.Msg)
	m.SetReply(req)
	m.RecursionAvailable = true
	m.Authoritative = true
	addrs, known := s.zone.lookup(q.Name)
	if dns.IsSubDomain(WhoZone, strings.ToLower(q.Name)) {
		addrs, known = []netip.Addr{source}, true
		if q.Qtype == dns.TypeTXT {
			m.Answer = append(m.Answer, &dns.TXT{Hdr: header(q), Txt: []string{s.name}})
		}
	}
	s.mu.Lock()
	if s.alike.IsValid() {
		addrs, known = []netip.Addr{s.alike}, true
	}
	s.mu.Unlock()
	if !known {
		m.Rcode = dns.RcodeNameError
	}
	for _, a := range addrs {
		switch {
		case q.Qtype == dns.TypeA && a.Is4():
			m.Answer = append(m.Answer, &dns.A{Hdr: header(q), A: a.AsSlice()})
		case q.Qtype == dns.TypeAAAA && a.Is6():
			m.Answer = append(m.Answer, &dns.AAAA{Hdr: header(q), AAAA: a.AsSlice()})
		}
	}
	_ = w.WriteMsg(m) // an answer lost here is lost, as on any network
}

func header(q dns.Question) dns.RR_Header {
	return dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: 5}
}

// record remembers a question and reports whether to answer it.
func (s *DNSServer) record(name string, source netip.Addr) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.queries) < queryLimit {
		s.queries = append(s.queries, Query{Name: strings.ToLower(name), Source: source})
	}
	return !s.silent
}

func remoteAddr(a net.Addr) netip.Addr {
	switch a := a.(type) {
	case *net.UDPAddr:
		return a.AddrPort().Addr().Unmap()
	case *net.TCPAddr:
		return a.AddrPort().Addr().Unmap()
	}
	return netip.Addr{}
}
