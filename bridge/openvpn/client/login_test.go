package client

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/openvpn/profile"
)

// A server that takes longer to accept a login than a handshake may take is waited for, and what it
// waits for is told.
func TestLoginThatTakesLong(t *testing.T) {
	for name, cause := range map[string]string{"in silence": causeLogin,
		"for an approval": causeApproval} {
		t.Run(name, func(t *testing.T) {
			if !inNamespace(t) {
				return
			}
			l := newLab(t)
			socket := filepath.Join(l.dir, "server.sock")
			l.serve("udp", "management "+socket+" unix", "management-client-auth")
			const delay = 20 * time.Second
			began := time.Now()
			go approve(l, socket, cause == causeApproval, delay)
			c := l.dial(l.profile("remote "+serverAddr+" 1194", "auth-user-pass"),
				func(cfg *Config) {
					cfg.Credentials = &profile.Credentials{Username: "u", Password: "p"}
				})
			c.await("word of what is waited for", func(s Status) bool {
				return s.State == StateConnecting && s.Cause == cause
			})
			c.await("the tunnel", func(s Status) bool { return s.State == StateUp })
			if took := time.Since(began); took < delay {
				t.Errorf("up after %v, before the server accepted", took)
			}
			if s := c.Status(); s.Cause != "" || s.Failures != 0 {
				t.Errorf("it came up at the second attempt, or is still waiting: %+v", s)
			}
		})
	}
}

// approve accepts the first client by a server's management, after a delay. ask has the server say
// that it waits for somebody.
func approve(l *lab, socket string, ask bool, delay time.Duration) {
	conn, err := net.Dial("unix", socket)
	if err != nil {
		l.t.Errorf("the server's management: %v", err)
		return
	}
	defer conn.Close()
	lines := bufio.NewScanner(conn)
	for lines.Scan() {
		rest, found := strings.CutPrefix(lines.Text(), ">CLIENT:CONNECT,")
		if !found {
			continue
		}
		id := strings.ReplaceAll(rest, ",", " ") // of the client, and of its key
		if ask {
			fmt.Fprintf(conn, "client-pending-auth %s approve 60\n", id)
		}
		time.Sleep(delay)
		fmt.Fprintf(conn, "client-auth-nt %s\n", id)
		_, _ = io.Copy(io.Discard, conn) // until the server ends
		return
	}
}

func TestParsePending(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"AUTH_PENDING received, extending handshake timeout from 60s to 90s":     90 * time.Second,
		"AUTH_PENDING received, extending handshake timeout from 60s to 999999s": 0,
		"AUTH_PENDING received": 0,
		"PUSH: Received control message: 'AUTH_PENDING,timeout 90'": 0,
	} {
		if e, ok := parsePending(text); ok != (want > 0) || e.limit != want {
			t.Errorf("%s: %v, want %v", text, e.limit, want)
		}
	}
}

// A packet that a router on the way turns back is no sign that this box has no route.
func TestHasRoute(t *testing.T) {
	if !inNamespace(t) {
		if !hasRoute(netip.MustParseAddrPort("127.0.0.1:1194")) {
			t.Error("no route to loopback")
		}
		return
	}
	if hasRoute(netip.MustParseAddrPort("192.0.2.1:1194")) {
		t.Error("a route where there is no link")
	}
}
