package client

import (
	"os"
	"strconv"
	"strings"

	"ztbridge/bridge/openvpn/profile"
)

// accepted are the beginnings of pushed options that openvpn may take from a server; all others are
// ignored. Matching is by prefix (pull-filter).
var accepted = []string{
	"ifconfig ", "ifconfig-ipv6 ", "topology ", "route-gateway ", "tun-mtu ", "peer-id ", "cipher ",
	"protocol-flags ", "key-derivation ", "dhcp-option DNS", "dns server", "auth-token",
	"push-continuation ", "tun-ipv6",
	// Packets are accepted compressed and never sent so (allow-compression asym).
	"comp-lzo", "compress",
}

const (
	// bufferBytes are the socket buffers of UDP that ended all retransmits in measurements.
	bufferBytes = 4 << 20

	// pingSeconds and silenceSeconds are the backstop behind the caller's probes, whatever a server
	// pushes. Most servers send a ping every ten seconds when idle, and the probes' answers come
	// every five. A server that is silent for longer on purpose is allowed to (see allowSilence).
	pingSeconds    = 3
	silenceSeconds = 15
)

// arguments are openvpn's for one run, beside the launcher's.
func (t *Tunnel) arguments(server profile.Remote) []string {
	a := []string{
		"--dev", t.cfg.Device, "--dev-type", "tun",
		"--ifconfig-noexec", "--route-noexec", "--persist-tun", "--persist-key",
		// This route is never set. openvpn works out the server's end of the tunnel
		// (route_vpn_gateway) only when a route needs it.
		"--route", "0.0.0.0", "0.0.0.0",
		"--script-security", "0",
		// The kernel's own tunnel driver does not work on a device that exists already.
		"--disable-dco",
		"--management-up-down", "--management-query-passwords",
		// Refused credentials lead to a hold, where we wait, instead of an exit.
		"--auth-retry", "interact",
		"--connect-timeout", "5", "--tls-timeout", "1",
		"--ping", strconv.Itoa(pingSeconds),
		"--ping-restart", strconv.Itoa(t.silence(server)),
		// A mute keeps a flood of equal messages (a deleted TUN device) from costing two processes.
		"--verb", "3", "--mute", "50", "--suppress-timestamps",
	}
	a = append(a, socketOptions(server.Proto)...)
	if t.cfg.Profile.For(server).Legacy() {
		a = append(a, "--providers", "legacy", "default")
	}
	return a
}

// socketOptions are for throughput. A TCP socket sizes its buffers by itself, and better (tcp(7):
// tcp_rmem).
func socketOptions(proto profile.Proto) []string {
	if proto == profile.TCP {
		return []string{"--socket-flags", "TCP_NODELAY"}
	}
	// Without a poll before each write, which such sockets and TUN devices do not need.
	a := []string{"--fast-io"}
	if n := bufferSize("wmem"); n > 0 {
		a = append(a, "--sndbuf", strconv.Itoa(n))
	}
	if n := bufferSize("rmem"); n > 0 {
		a = append(a, "--rcvbuf", strconv.Itoa(n))
	}
	return a
}

// bufferSize returns the socket buffer to ask for, in bytes, or 0 for the kernel's default. It is 0
// where the limit is not above the default (net.core.{r,w}mem_max, socket(7)).
func bufferSize(kind string) int {
	read := func(name string) int {
		data, err := os.ReadFile("/proc/sys/net/core/" + name)
		if err != nil {
			return 0
		}
		n, _ := strconv.Atoi(strings.TrimSpace(string(data)))
		return n
	}
	limit := read(kind + "_max")
	if limit <= read(kind+"_default") {
		return 0
	}
	return min(limit, bufferBytes)
}
