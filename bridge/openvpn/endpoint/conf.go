package endpoint

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/cpu"

	"ztbridge/bridge/openvpn/management"
)

const (
	// maxClients is how many connections a listener has at most, admitted or not. It is half of the
	// open files that openvpn may have, see allowFiles: a flood of connections must end in
	// refusals, not in failing system calls.
	maxClients = 1024
	// handWindow is how long, in seconds, a handshake may take. It is shorter by TCP, where silent
	// connections count towards maxClients. It still allows a dozen round trips of a second; a
	// handshake takes half of them.
	handWindow    = 30
	handWindowTCP = 15
	// tcpQueue is how many packets wait for a client whose connection is full. While any waits,
	// openvpn reads nothing from that client (multi_tcp_set_global_rw_flags in mtcp.c of 2.6), so a
	// download that keeps a long queue full delays uploads too. Measured on a line of 10 Mbit/s and
	// 30 ms, with CUBIC at both ends, at equal throughput: pings took 0.8 s with a queue of 256, up
	// to 2.3 s, nearly the same with the default of 64, and 0.2 s with 16. With 4 they took 0.1 to
	// 0.2 s, but an idle line lost 7 of 30 packets sent at once.
	tcpQueue = 16
	// A client that receives nothing for pingRestart seconds reconnects; the server ends a silent
	// session after twice as long. A killed process cannot announce its end by UDP. More pings
	// would keep a phone's radio awake. With a shorter wait three lost pings cause a reconnect. It
	// costs a second; addresses and connections survive it.
	pingInterval = 10
	pingRestart  = 30
	// socketBuffer is the buffer size of UDP sockets in bytes; the kernel limits it to
	// net.core.{r,w}mem_max. With it at both ends, and a longer device queue, there were no
	// retransmits, against 40,000 in the same test with the defaults. TCP keeps the kernel's own.
	socketBuffer = 4 << 20
)

// host is what a listener's configuration depends on in the machine.
type host struct {
	ipv6 bool // without it in the kernel no IPv6 socket can be made
	aes  bool // the processor has instructions for AES-GCM
}

// machine returns this machine.
func machine() host {
	_, err := os.Stat("/proc/net/if_inet6")
	return host{ipv6: err == nil, aes: hasAES()}
}

// hasAES reports whether the processor has instructions for AES and for GCM's multiplication.
func hasAES() bool {
	switch runtime.GOARCH {
	case "amd64", "386":
		return cpu.X86.HasAES && cpu.X86.HasPCLMULQDQ
	case "arm64":
		return cpu.ARM64.HasAES && cpu.ARM64.HasPMULL
	case "arm":
		return cpu.ARM.HasAES && cpu.ARM.HasPMULL
	}
	return true
}

// ciphers returns the ciphers in the server's order; it uses the first that a client offers.
// ChaCha20 comes first where AES is done in software, which takes three to four times as long.
func (h host) ciphers() string {
	if h.aes {
		return "AES-256-GCM:AES-128-GCM:CHACHA20-POLY1305"
	}
	return "CHACHA20-POLY1305:AES-256-GCM:AES-128-GCM"
}

// conf returns openvpn's configuration of a listener with the directory dir. It holds keys and is
// passed by standard input.
func conf(l Listener, k Keys, web netip.AddrPort, h host, dir string) string {
	var b bytes.Buffer
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	server := l.Pool.Server()

	line("mode server")
	line("tls-server")
	line("proto %s", bindProto(l.Proto, h.ipv6))
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
	line("data-ciphers %s", h.ciphers())
	line("crl-verify %s", management.Quote(filepath.Join(dir, "crl.pem")))
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

// transport returns the options that differ between UDP and TCP.
func transport(l Listener, web netip.AddrPort) string {
	if l.Proto == "tcp" {
		// tcp-nodelay is pushed to clients too: uploads were 1.6, downloads 2.1 times as fast.
		text := fmt.Sprintf("hand-window %d\ntcp-nodelay\ntcp-queue-limit %d\n", handWindowTCP,
			tcpQueue)
		if web.IsValid() {
			text += fmt.Sprintf("port-share %s %d\n", web.Addr(), web.Port())
		}
		return text
	}
	return fmt.Sprintf("hand-window %d\nsndbuf %d\nrcvbuf %d\n", handWindow, socketBuffer,
		socketBuffer) +
		// Skips the poll before each write, which UDP sockets and TUN devices do not need.
		"fast-io\n" +
		// Answers from the address that the client sent to, on a box with several.
		"multihome\n" +
		// Limits answers to first packets. It is far above what handshakes need: whoever has
		// recorded a client's first packet uses it up by sending that again, and newcomers with it
		// (400 was, by 40 packets a second). To answer a client of 2.6 or later takes no state.
		"connect-freq-initial 8000 10\n" +
		// By UDP no connection breaks when one side ends, so each announces it.
		"explicit-exit-notify 1\npush \"explicit-exit-notify 1\"\n"
}

// bindProto returns the proto option of a server. With IPv6 one socket serves both families.
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
