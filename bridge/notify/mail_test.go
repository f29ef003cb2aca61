package notify

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/base64"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// mailServer is a small server of mail.
type mailServer struct {
	implicit bool     // TLS from the first byte
	auth     string   // what it offers once encrypted
	refuse   string   // the command that it refuses
	lines    []string // of the commands and the mail
	mu       sync.Mutex
}

func (s *mailServer) start(t *testing.T) uint16 {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	t.Cleanup(func() { l.Close(); all.Wait() })
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() { defer conn.Close(); s.serve(conn) })
		}
	})
	return uint16(l.Addr().(*net.TCPAddr).Port)
}

func (s *mailServer) serve(conn net.Conn) {
	secure := &tls.Config{Certificates: []tls.Certificate{pair}}
	if s.implicit {
		conn = tls.Server(conn, secure)
	}
	in := bufio.NewReader(conn)
	encrypted, data := s.implicit, false
	fmt.Fprint(conn, "220 mail\r\n")
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		line = strings.TrimRight(line, "\r\n")
		s.mu.Lock()
		s.lines = append(s.lines, line)
		s.mu.Unlock()
		verb, _, _ := strings.Cut(line, " ")
		switch {
		case data && line == ".":
			data = false
			fmt.Fprint(conn, "250 taken\r\n")
		case data:
		case verb == s.refuse:
			fmt.Fprintf(conn, "554 5.7.1 no %s\r\n", line)
		case verb == "EHLO" && !encrypted:
			fmt.Fprint(conn, "250-mail\r\n250 STARTTLS\r\n")
		case verb == "EHLO":
			fmt.Fprintf(conn, "250-mail\r\n250 AUTH %s\r\n", s.auth)
		case verb == "STARTTLS":
			fmt.Fprint(conn, "220 go\r\n")
			conn, encrypted = tls.Server(conn, secure), true
			in = bufio.NewReader(conn)
		case line == "AUTH LOGIN":
			fmt.Fprint(conn, "334 VXNlcm5hbWU6\r\n")
		case line == base64.StdEncoding.EncodeToString([]byte("me")):
			fmt.Fprint(conn, "334 UGFzc3dvcmQ6\r\n")
		case verb == "AUTH", line == base64.StdEncoding.EncodeToString([]byte(secret)):
			fmt.Fprint(conn, "235 in\r\n")
		case verb == "DATA":
			data = true
			fmt.Fprint(conn, "354 go on\r\n")
		case verb == "QUIT":
			fmt.Fprint(conn, "221 bye\r\n")
			return
		default:
			fmt.Fprint(conn, "250 ok\r\n")
		}
	}
}

func (s *mailServer) seen() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return strings.Join(s.lines, "\n")
}

func config(port uint16) MailConfig {
	return MailConfig{Host: "127.0.0.1", Port: port, Security: StartTLS, From: "box@example.org",
		To: []string{"a@example.org", "B <b@example.org>"}, Username: "me", Password: secret}
}

func TestMail(t *testing.T) {
	for name, s := range map[string]*mailServer{
		"STARTTLS and PLAIN": {auth: "PLAIN"}, "STARTTLS and LOGIN": {auth: "LOGIN"},
		"TLS and PLAIN": {auth: "PLAIN LOGIN", implicit: true},
		"TLS and LOGIN": {auth: "LOGIN", implicit: true},
	} {
		cfg := config(s.start(t))
		if s.implicit {
			cfg.Security = TLS
		}
		if err := NewMail(cfg).Send(t.Context(), direct, sample); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		seen := s.seen()
		for _, want := range []string{"MAIL FROM:<box@example.org>", "RCPT TO:<a@example.org>",
			"RCPT TO:<b@example.org>", "Subject: =?UTF-8?q?box:_=C3=9C_is_down?=",
			"Auto-Submitted: auto-generated", "What to do: wait"} {
			if !strings.Contains(seen, want) {
				t.Errorf("%s: no %q in\n%s", name, want, seen)
			}
		}
	}
}

// A password, or a mail, is never sent in the clear to a server that does not encrypt.
func TestMailIsEncrypted(t *testing.T) {
	for _, s := range []*mailServer{{refuse: "STARTTLS"}, {implicit: true, auth: "PLAIN"}} {
		cfg := config(s.start(t))
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		err := NewMail(cfg).Send(ctx, direct, sample)
		cancel()
		if seen := s.seen(); err == nil || strings.Contains(seen, "AUTH") ||
			strings.Contains(seen, "MAIL") {
			t.Errorf("%v after\n%s", err, seen)
		}
	}
	s := &mailServer{auth: "PLAIN"}
	cfg := config(s.start(t))
	cfg.Host = "localhost" // not in the certificate
	cfg.Username, cfg.Password = "", ""
	local := func(ctx context.Context, network, _ string) (net.Conn, error) {
		return direct(ctx, network, net.JoinHostPort("127.0.0.1", strconv.Itoa(int(cfg.Port))))
	}
	if err := NewMail(cfg).Send(t.Context(), local, sample); err == nil {
		t.Error("another server's certificate is taken")
	}
	plain := &mailServer{}
	cfg = MailConfig{Host: "127.0.0.1", Port: plain.start(t), Security: NoTLS,
		From: "box@example.org", To: []string{"a@example.org"}}
	if err := NewMail(cfg).Send(t.Context(), direct, sample); err != nil {
		t.Errorf("without TLS, as configured: %v", err)
	}
}

func TestMailErrorsHoldNoSecret(t *testing.T) {
	for _, refuse := range []string{"AUTH", "MAIL", "RCPT", "DATA"} {
		s := &mailServer{auth: "PLAIN", refuse: refuse}
		err := NewMail(config(s.start(t))).Send(t.Context(), direct, sample)
		if err == nil {
			t.Errorf("%s was refused, and nothing is wrong", refuse)
			continue
		}
		encoded := base64.StdEncoding.EncodeToString([]byte("\x00me\x00" + secret))
		if text := fmt.Sprintf("%v %#v", err, err); strings.Contains(text, "5ecret") ||
			strings.Contains(text, encoded) {
			t.Errorf("%s: %s", refuse, text)
		}
	}
}
