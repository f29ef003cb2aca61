package lab

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"sync"
	"time"

	"ztbridge/policyroute/netlab"
)

// ProxyKind is the protocol of a proxy.
type ProxyKind string

// The kinds of proxies.
const (
	HTTPProxy  ProxyKind = "http"  // CONNECT (RFC 9110, section 9.3.6)
	SOCKSProxy ProxyKind = "socks" // version 5, TCP and UDP (RFC 1928)
)

// ProxyOptions say what a proxy is.
type ProxyOptions struct {
	Kind           ProxyKind
	User, Password string // whom it serves; empty: everybody
	// Answer, when not empty, is all that it says, to everybody: a proxy that lies.
	Answer string
	// Refuse reports whether a proxy does not pass on to a place; nil: it passes on to all.
	Refuse func(place string) bool
}

// Proxy passes connections on, to whoever knows its password.
type Proxy struct {
	options ProxyOptions
	network Network
	listen  net.Listener
	address netip.Addr

	mu      sync.Mutex
	tunnels []string
	clients map[netip.Addr]bool
	open    map[io.Closer]bool
	serving sync.WaitGroup
}

// Network is where a proxy listens and dials.
type Network interface {
	Dial(ctx context.Context, network, address string) (net.Conn, error)
	Listen(network, address string) (net.Listener, error)
	ListenPacket(network, address string) (net.PacketConn, error)
}

// ServeProxy runs an HTTP proxy on an address of the namespace.
func ServeProxy(n *netlab.Namespace, at netip.AddrPort, user, password string) (*Proxy, error) {
	return StartProxy(n, at, ProxyOptions{Kind: HTTPProxy, User: user, Password: password})
}

// StartProxy runs a proxy on an address of a network.
func StartProxy(n Network, at netip.AddrPort, options ProxyOptions) (*Proxy, error) {
	l, err := n.Listen("tcp", at.String())
	if err != nil {
		return nil, fmt.Errorf("serving a proxy at %s: %w", at, err)
	}
	p := &Proxy{options: options, network: n, listen: l, address: at.Addr(),
		open: map[io.Closer]bool{}, clients: map[netip.Addr]bool{}}
	p.serving.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // by Close
			}
			p.mu.Lock()
			p.clients[addrPort(conn.RemoteAddr()).Addr()] = true
			p.mu.Unlock()
			p.serving.Go(func() {
				defer p.keep(conn)()
				p.serve(conn)
			})
		}
	})
	return p, nil
}

// Tunnels returns where connections were passed on to, in order.
func (p *Proxy) Tunnels() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.tunnels...)
}

// Clients returns who connected.
func (p *Proxy) Clients() []netip.Addr {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.SortedFunc(maps.Keys(p.clients), netip.Addr.Compare)
}

// Close ends the proxy and what it passes on, as its death would.
func (p *Proxy) Close() error {
	err := p.listen.Close()
	p.mu.Lock()
	for c := range p.open {
		_ = c.Close()
	}
	p.open = nil
	p.mu.Unlock()
	p.serving.Wait()
	return err
}

// keep has Close close c, and returns what closes it earlier.
func (p *Proxy) keep(c io.Closer) (release func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.open == nil {
		_ = c.Close()
		return func() {}
	}
	p.open[c] = true
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.open, c)
		_ = c.Close()
	}
}

// proxyTimeout is how long a client may take to say what it wants.
const proxyTimeout = 10 * time.Second

// serve speaks with one client.
func (p *Proxy) serve(conn net.Conn) {
	_ = conn.SetReadDeadline(time.Now().Add(proxyTimeout))
	switch {
	case p.options.Answer != "":
		_, _ = io.WriteString(conn, p.options.Answer)
		_, _ = io.Copy(io.Discard, conn)
	case p.options.Kind == SOCKSProxy:
		p.socks(conn)
	default:
		p.http(conn)
	}
}

// reach connects to a place and remembers it.
func (p *Proxy) reach(place string) (net.Conn, error) {
	if p.options.Refuse != nil && p.options.Refuse(place) {
		return nil, errors.New("not allowed")
	}
	ctx, cancel := context.WithTimeout(context.Background(), proxyTimeout)
	defer cancel()
	up, err := p.network.Dial(ctx, "tcp", place)
	if err != nil {
		return nil, err
	}
	p.remember(place)
	return up, nil
}

func (p *Proxy) remember(place string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.tunnels = append(p.tunnels, place)
}

// pass copies both ways until one side ends. The client may have sent more than was read.
func (p *Proxy) pass(down net.Conn, buffered io.Reader, up net.Conn) {
	defer p.keep(up)()
	_ = down.SetReadDeadline(time.Time{})
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		_, _ = io.Copy(up, buffered) // the end of either is no news
		_ = up.Close()
	}()
	_, _ = io.Copy(down, up)
	_ = down.Close()
	<-ended
}

// http reads a request and passes on.
func (p *Proxy) http(conn net.Conn) {
	read := newReader(conn)
	for {
		r, err := http.ReadRequest(read)
		if err != nil {
			return
		}
		status, up := p.connect(r)
		if up != nil {
			_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\n\r\n")
			p.pass(conn, read, up)
			return
		}
		header := ""
		if status == http.StatusProxyAuthRequired {
			header = "Proxy-Authenticate: Basic realm=\"cafe\"\r\n"
		}
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 %d %s\r\n%sContent-Length: 0\r\n\r\n", status,
			http.StatusText(status), header)
		if r.Close || r.ProtoMinor == 0 {
			return
		}
	}
}

// connect does what a request asks for, or returns the status of the refusal.
func (p *Proxy) connect(r *http.Request) (int, net.Conn) {
	// The header is that of any request but for its name.
	who := http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}
	user, password, _ := who.BasicAuth()
	switch {
	case r.Method != http.MethodConnect:
		return http.StatusMethodNotAllowed, nil
	case user != p.options.User || password != p.options.Password:
		return http.StatusProxyAuthRequired, nil
	case p.options.Refuse != nil && p.options.Refuse(r.Host):
		return http.StatusForbidden, nil
	}
	up, err := p.reach(r.Host)
	if err != nil {
		return http.StatusBadGateway, nil
	}
	return http.StatusOK, up
}
