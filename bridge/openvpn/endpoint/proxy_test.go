package endpoint_test

import (
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"ztbridge/bridge/pki"
)

// testProxy lets nothing out of the café but what its HTTP proxy passes on.
func (l *lab) testProxy() {
	t := l.t
	tunnels := l.serveProxy()
	_, profile := l.add(pki.Request{Name: "proxied"})
	// OpenVPN 2 refuses a proxy together with a UDP remote.
	profile = strings.Replace(profile, "remote 203.0.113.1 1194 udp\n", "", 1)
	ns := l.host()
	l.drop(ns, "ip daddr 203.0.113.0/24")
	password := filepath.Join(l.lab.Dir, "proxy")
	must(t, os.WriteFile(password, []byte(proxyUser+"\n"+proxyPassword+"\n"), 0o600))
	p := l.connect(ns, profile, "--http-proxy", proxyAddr.Addr().String(), "3128", password, "basic")
	defer p.Stop()
	awaitEcho(t, ns, innerAddr)
	if s, _ := l.session("proxied", "tcp/443"); s.Remote.Addr() != netip.MustParseAddr("203.0.113.2") {
		t.Errorf("the client comes from %s, want the proxy", s.Remote)
	}
	select {
	case <-tunnels:
	default:
		t.Error("nothing went through the proxy")
	}
}

// What the café's proxy asks for.
const proxyUser, proxyPassword = "room 12", "breakfast"

// serveProxy runs a proxy with CONNECT in the café until the lab ends; it reports the tunnels.
func (l *lab) serveProxy() <-chan string {
	l.t.Helper()
	listener, err := l.café.Listen("tcp", proxyAddr.String())
	must(l.t, err)
	tunnels := make(chan string, 16)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodConnect {
			http.Error(w, "only CONNECT", http.StatusMethodNotAllowed)
			return
		}
		// The header is that of any request but for its name.
		who := http.Request{Header: http.Header{"Authorization": r.Header["Proxy-Authorization"]}}
		if user, password, _ := who.BasicAuth(); user != proxyUser || password != proxyPassword {
			w.Header().Set("Proxy-Authenticate", `Basic realm="cafe"`)
			w.WriteHeader(http.StatusProxyAuthRequired)
			return
		}
		up, err := l.café.Dial(r.Context(), "tcp", r.Host)
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
		_, _ = io.WriteString(down, "HTTP/1.1 200 Connection established\r\n\r\n")
		tunnels <- r.Host
		go func() {
			_, _ = io.Copy(up, buf)
			_ = up.Close()
		}()
		_, _ = io.Copy(down, up)
	})}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(listener)
	}()
	l.lab.Defer(func() error {
		err := server.Close()
		<-done
		return err
	})
	return tunnels
}
