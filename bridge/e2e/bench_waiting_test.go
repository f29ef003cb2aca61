package e2e

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// BenchmarkWaiting measures how long a ping takes while one connection fills a line.
//
//	client ── box ~~ OpenVPN, UDP ~~ provider ── Internet
//	client ~~ OpenVPN, UDP or TCP ~~ endpoint ── Internet
func BenchmarkWaiting(b *testing.B) {
	require(b, netlab.IPerf3)
	const direct = "egress: {direct: {wan: {}}}\npolicy: [{egress: [direct]}]\n"
	for _, line := range []lab.Line{aSlowLine, aLine} {
		for name, open := range map[string]func(*testing.B) path{
			"tunnel over UDP": func(b *testing.B) path {
				top := standard(b, lab.Options{})
				byLine(b, top, top.WAN, line)
				bridged(b, top, gatewayConfig)
				return across(top)
			},
			"endpoint over UDP": func(b *testing.B) path {
				return roadWarrior(b, "udp", direct, cafe(line))
			},
			"endpoint over TCP": func(b *testing.B) path {
				return roadWarrior(b, "tcp", direct, cafe(line))
			},
		} {
			b.Run(fmt.Sprintf("%s by %g Mbit/s", name, line.Mbit), func(b *testing.B) {
				measureWaiting(b, fmt.Sprintf("%s, line of %g Mbit/s", name, line.Mbit), open(b),
					name == "endpoint over TCP")
			})
		}
	}
}

// measureWaiting reports pings during an upload and during a download. By TCP a fixed time is
// wanted, since what is lost there waits for what is sent again.
func measureWaiting(b *testing.B, what string, p path, overTCP bool) {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), waitTimeout)
	defer cancel()
	for b.Loop() {
		idle := pingMean(b, ctx, p)
		limit := 2*idle + 10
		if overTCP {
			limit = 150
		}
		for _, direction := range []string{"upload", "download"} {
			var took []float64
			for range 3 {
				took = append(took, pingWhileLoading(b, p, direction == "download"))
			}
			reportTime(b, fmt.Sprintf("%s: ping during the %s, %.0f ms idle", what, direction, idle),
				time.Duration(limit)*time.Millisecond, took)
		}
	}
}

// BenchmarkCiphers compares what ChaCha20-Poly1305 and AES cost the tunnel's process where the
// processor has no instructions for AES, which openvpn's library is told by a variable.
func BenchmarkCiphers(b *testing.B) {
	require(b, netlab.IPerf3)
	type side struct {
		top *lab.Topology
		box *box
	}
	begin := func(cipher string) side {
		top := standard(b, lab.Options{})
		x := newBox(b, top.Box)
		x.maskAES()
		x.bridge(top, "ingress: ["+lab.IngressIface+"]\n"+
			"egress: {provider: {openvpn: {profile: provider.ovpn, ciphers: ["+cipher+"]}}}\n"+
			"probe: {targets: [192.0.2.10], hold_down: 3s}\n")
		return side{top, x}
	}
	chacha, aes := begin("CHACHA20-POLY1305"), begin("AES-256-GCM")
	asCards(b, chacha.top, aes.top)
	sides := map[path]side{across(chacha.top): chacha, across(aes.top): aes}
	for _, download := range []bool{false, true} {
		direction := map[bool]string{false: "upload", true: "download"}[download]
		b.Run(direction, func(b *testing.B) {
			compareBy(b, "ChaCha20 against AES without instructions for it, "+direction, 1/0.88,
				across(chacha.top), across(aes.top), gauge{unit: "µs/MB", less: true,
					measure: func(p path) float64 {
						x := sides[p].box
						pid := x.openvpn("provider")
						before := x.cpuOf(pid)
						megabytes := iperf(b, p, download) * measurement.Seconds() / 8
						return float64((x.cpuOf(pid) - before).Microseconds()) / megabytes
					}})
		})
	}
}

// maskAES has the box's openvpn take the processor for one without instructions for AES
// (OPENSSL_ia32cap(3)).
func (b *box) maskAES() {
	b.t.Helper()
	dir := filepath.Join(b.dir, "bin") // where openvpn's own user can read
	must(b.t, os.Mkdir(dir, 0o755))
	must(b.t, os.WriteFile(filepath.Join(dir, "openvpn"), []byte("#!/bin/sh\n"+
		"OPENSSL_ia32cap=~0x200000200000000:~0x60000000000 exec /usr/sbin/openvpn \"$@\"\n"),
		0o755))
	b.env = append(b.env, "PATH="+dir+":"+os.Getenv("PATH"))
}
