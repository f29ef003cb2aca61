package resolver

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// authority is a test CA.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	pool *x509.CertPool
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{
			CommonName: "test CA"}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(
			time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	must(t, err)
	cert, err := x509.ParseCertificate(der)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AddCert(cert)
	return &authority{cert, key, pool}
}

func (a *authority) issue(t *testing.T, name string) tls.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{
			name}, KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, a.cert, &key.PublicKey, a.key)
	must(t, err)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
}

// dotServer answers every A question with 192.0.2.<n>, and is told to misbehave.
type dotServer struct {
	addr        netip.AddrPort
	number      byte
	listener    *countingListener
	server      *dns.Server
	questions   atomic.Int64
	mute        atomic.Bool
	wrongAnswer atomic.Bool
	delay       atomic.Int64 // ms, for names that begin with "slow"
	conns       sync.Map     // address of who asks → net.Conn
}

type countingListener struct {
	net.Listener
	accepted atomic.Int64
}

func (l *countingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.accepted.Add(1)
	}
	return c, err
}

// keepingListener keeps the connections by the address of who asks.
type keepingListener struct {
	net.Listener
	conns *sync.Map
}

func (l keepingListener) Accept() (net.Conn, error) {
	c, err := l.Listener.Accept()
	if err == nil {
		l.conns.Store(c.RemoteAddr().String(), c)
	}
	return c, err
}

// startDoT serves on l until the test ends.
func startDoT(t *testing.T, l net.Listener, cert tls.Certificate, number byte) *dotServer {
	t.Helper()
	s := &dotServer{addr: l.Addr().(*net.TCPAddr).AddrPort(), number: number,
		listener: &countingListener{Listener: l}}
	started := make(chan struct{})
	s.server = &dns.Server{
		Listener: keepingListener{tls.NewListener(s.listener,
			&tls.Config{Certificates: []tls.Certificate{cert}}), &s.conns},
		Handler: dns.HandlerFunc(s.answer), NotifyStartedFunc: func() {
			close(started)
		}, MaxTCPQueries: -1,
	}
	go s.server.ActivateAndServe()
	<-started
	t.Cleanup(func() { s.server.Shutdown() })
	return s
}

func (s *dotServer) answer(w dns.ResponseWriter, q *dns.Msg) {
	s.questions.Add(1)
	if s.mute.Load() {
		return
	}
	a := new(dns.Msg).SetReply(q)
	name := q.Question[0].Name
	if s.wrongAnswer.Load() {
		a.Question[0].Name = "other.example."
	}
	if d := s.delay.Load(); d > 0 && name[:4] == "slow" {
		// By the connection itself: w may be closed meanwhile.
		conn, _ := s.conns.Load(w.RemoteAddr().String())
		go func() {
			time.Sleep(time.Duration(d) * time.Millisecond)
			(&dns.Conn{Conn: conn.(net.Conn)}).WriteMsg(a)
		}()
		return
	}
	records := 1
	if name == "big.example." {
		records = 200
	}
	for i := range records {
		a.Answer = append(a.Answer, &dns.A{
			Hdr: dns.RR_Header{Name: name, Rrtype: dns.TypeA, Class: dns.ClassINET, Ttl: 1},
			A:   net.IPv4(192, 0, byte(i), s.number),
		})
	}
	w.WriteMsg(a)
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
