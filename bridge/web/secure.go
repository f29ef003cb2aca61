package web

import (
	"crypto/tls"
	"net"
	"net/http"
	"strconv"
	"strings"

	"ztbridge/bridge/certfile"
)

// hsts tells browsers for how long to ask for the page by TLS alone, in seconds: a day, so that a
// certificate that nobody renews keeps its owner out for no longer.
const hsts = "max-age=86400"

// tlsConfig presents the certificate as it is at each time. HTTP/2 is left out: who a device is,
// each of its connections has to prove.
func (s *Server) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return s.config.Cert.Get()
		},
	}
}

// hostOf returns the name or address that a browser asks for, without the port.
func hostOf(r *http.Request) string {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	return strings.ToLower(strings.TrimSuffix(strings.Trim(host, "[]"), "."))
}

// covers reports whether the certificate is for a host, and valid now.
func (s *Server) covers(host string) bool {
	if s.config.Cert == nil || host == "" {
		return false
	}
	cert, err := s.config.Cert.Get()
	return err == nil && certfile.Usable(cert, host, s.config.Now()) == nil
}

// secured sends a browser on to TLS where it asked for a host of the certificate, and reports
// whether it did. Of all other hosts a browser would warn.
func (s *Server) secured(w http.ResponseWriter, r *http.Request) bool {
	host := hostOf(r)
	if !s.covers(host) {
		return false
	}
	if r.TLS == nil {
		to := s.secureAddress(host) + r.URL.RequestURI()
		http.Redirect(w, r, to, http.StatusTemporaryRedirect) //nolint:gosec // of the certificate
		return true
	}
	// It counts for all ports of the host: another one than 443 would not be found by it.
	if s.config.HTTPSPort == 443 && s.config.Port == 80 {
		w.Header().Set("Strict-Transport-Security", hsts)
	}
	return false
}

// secureAddress returns where the page is by TLS.
func (s *Server) secureAddress(host string) string {
	return "https://" + withPort(host, s.config.HTTPSPort, 443)
}

// withPort returns a host as it is written in a URL whose scheme has a port of its own.
func withPort(host string, port, usual uint16) string {
	if port != usual && port != 0 {
		return net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}
