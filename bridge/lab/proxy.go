package lab

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"ztbridge/policyroute/netlab"
)

// Proxy is an HTTP proxy that passes connections on by CONNECT, to whoever knows its password.
type Proxy struct {
	ns             *netlab.Namespace
	user, password string
	server         *http.Server
	done           chan struct{}

	mu      sync.Mutex
	tunnels []string
}

// ServeProxy runs a proxy on an address of the namespace.
func ServeProxy(n *netlab.Namespace, at netip.AddrPort, user, password string) (*Proxy, error) {
	l, err := n.Listen("tcp", at.String())
	if err != nil {
		return nil, fmt.Errorf("serving a proxy in %s: %w", n.Label, err)
	}
	p := &Proxy{ns: n, user: user, password: password, done: make(chan struct{})}
	p.server = &http.Server{Handler: http.HandlerFunc(p.serve), ReadHeaderTimeout: 10 * time.Second}
	go func() {
		defer close(p.done)
		_ = p.server.Serve(l) // ends with Close
	}()
	return p, nil
}

// Tunnels returns where connections were passed on to, in order.
func (p *Proxy) Tunnels() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]string(nil), p.tunnels...)
}

// Close ends the proxy. Connections that it passes on live until one of their ends closes them.
func (p *Proxy) Close() error {
	err := p.server.Close()
	<-p.done
	return err
}

func (p *Proxy) serve(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		http.Error(w, "only CONNECT", http.StatusMethodNotAllowed)
		return
	}
	// The header is that of any request but for its name.
	who := http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}
	if user, password, _ := who.BasicAuth(); user != p.user || password != p.password {
		w.Header().Set("Proxy-Authenticate", `Basic realm="cafe"`)
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	up, err := p.ns.Dial(r.Context(), "tcp", r.Host)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer up.Close()
	down, buf, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer down.Close()
	p.mu.Lock()
	p.tunnels = append(p.tunnels, r.Host)
	p.mu.Unlock()
	pass(down, buf, up)
}

// pass copies both ways until one side ends.
func pass(down net.Conn, buffered io.Reader, up net.Conn) {
	if _, err := io.WriteString(down, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(up, buffered) // the end of either is no news
		_ = up.Close()
	}()
	_, _ = io.Copy(down, up)
}
