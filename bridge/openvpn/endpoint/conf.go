package endpoint

import (
	"bytes"
	"fmt"
	"net/netip"
	"path/filepath"
	"strings"

	"ztbridge/bridge/openvpn/management"
)

const (
	// maxClients stays well below the 1,024 files that a process may have open by default: a flood
	// of connections must end in refusals, not in failing system calls.
	maxClients = 512
	// handWindow is how long, in seconds, a connection may take to prove who it is; by TCP it is
	// less: there, connections that say nothing count among maxClients, and anybody can open enough
	// to keep newcomers out for as long. It still bears a dozen round trips of a second, of which a
	// handshake takes half.
	handWindow    = 30
	handWindowTCP = 15
	// tcpQueue is how many packets wait for a client whose connection takes no more. As long as
	// there are any, openvpn reads nothing from the client (multi_tcp_set_global_rw_flags of 2.6's
	// mtcp.c), so that in a long queue, which a download keeps full, what the client sends waits as
	// well: on a line of 10 Mbit/s and 30 ms, CUBIC at both ends, pings took 0.8 s with 256, up to
	// 2.3 s, nearly the same with the default of 64, and 0.2 s with 16, at the same throughput.
	// With 4 it was 0.1 to 0.2 s, but of 30 packets at once on an idle line 7 were lost.
	tcpQueue = 16
	// A client that hears nothing for pingRestart seconds connects again; the server forgets one
	// after twice as long. Who was killed cannot say so by UDP. More pings would keep the radio of
	// a phone awake; a shorter wait takes three lost pings for an end, which costs a second:
	// addresses stay, and connections with them.
	pingInterval = 10
	pingRestart  = 30
	// socketBuffer is what UDP sockets ask for, in bytes; the kernel gives up to
	// net.core.{r,w}mem_max. With it at both ends, and a longer queue of the device, there were no
	// retransmits, against 40,000 in the same test with the defaults. TCP sockets keep the kernel's
	// own tuning.
	socketBuffer = 4 << 20
)

// conf writes openvpn's configuration of a listener, whose own directory is dir. It holds keys and
// is handed over by standard input.
func conf(l Listener, k Keys, web netip.AddrPort, ipv6 bool, dir string) string {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	server := l.Pool.Server()

	line("mode server")
	line("tls-server")
	line("proto %s", bindProto(l.Proto, ipv6))
	line("port %d", l.Port)
	line("dev %s", l.Device)
	line("dev-type tun")
	line("topology subnet")
	line("ifconfig %s %s", server[0].Addr(), netmask(l.Pool.V4))
	line("ifconfig-ipv6 %s %s", server[1], server[1].Addr().Next())
	// The reconcile loop sets addresses and routes.
	line("ifconfig-noexec")
	line("route-noexec")
	line(`push "topology subnet"`)
	line(`push "route-gateway %s"`, server[0].Addr())
	line("keepalive %d %d", pingInterval, pingRestart)
	line("persist-tun")
	line("persist-key")
	line("max-clients %d", maxClients)

	line("dh none")
	line("tls-version-min 1.2")
	line("tls-cert-profile preferred")
	line("remote-cert-tls client")
	line("verify-client-cert require")
	line("auth-user-pass-optional") // management-client-auth would ask for a password
	line("data-ciphers AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305")
	line("crl-verify %s", management.Quote(filepath.Join(dir, "crl.pem")))
	line("tmp-dir %s", management.Quote(filepath.Join(dir, "tmp")))
	b.WriteString(transport(l, web))
	line("verb 1")
	line("suppress-timestamps")
	for _, block := range []struct{ tag, data string }{
		{"ca", k.CA}, {"cert", k.Cert}, {"key", k.Key}, {"tls-crypt-v2", k.CryptV2},
	} {
		line("<%s>\n%s\n</%s>", block.tag, strings.TrimSpace(block.data), block.tag)
	}
	return b.String()
}

// transport writes what differs between UDP and TCP.
func transport(l Listener, web netip.AddrPort) string {
	if l.Proto == "tcp" {
		// tcp-nodelay is told to the clients too: it made uploads 1.6 times and downloads 2.1 times
		// as fast.
		text := fmt.Sprintf("hand-window %d\ntcp-nodelay\ntcp-queue-limit %d\n", handWindowTCP,
			tcpQueue)
		if web.IsValid() {
			text += fmt.Sprintf("port-share %s %d\n", web.Addr(), web.Port())
		}
		return text
	}
	return fmt.Sprintf("hand-window %d\nsndbuf %d\nrcvbuf %d\n", handWindow, socketBuffer,
		socketBuffer) +
		// No poll before each write, which such sockets and TUN devices do not need.
		"fast-io\n" +
		// Answers leave with the address that was asked, on a box with several.
		"multihome\n" +
		// A handshake that never goes on costs an attacker one packet and us some state.
		"connect-freq-initial 400 10\n" +
		// Without a connection that breaks, each side must say that it goes.
		"explicit-exit-notify 1\npush \"explicit-exit-notify 1\"\n"
}

// bindProto names the socket. With IPv6 one socket serves both families.
func bindProto(proto string, ipv6 bool) string {
	switch {
	case proto == "tcp" && ipv6:
		return "tcp6-server"
	case proto == "tcp":
		return "tcp4-server"
	case ipv6:
		return "udp6"
	default:
		return "udp4"
	}
}
