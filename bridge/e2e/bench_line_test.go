package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// Between hosts that are next to each other a tunnel is as fast as their processors, and nothing
// ever waits for an answer. Over a line with delay it is waiting that costs, and a queue that grows
// is what a user feels.

// aLine is one of many cafés and homes, and aSlowLine of as many.
var (
	aLine     = lab.Line{Delay: 10 * time.Millisecond, Mbit: 50, Queue: 100 * time.Millisecond}
	aSlowLine = lab.Line{Delay: 15 * time.Millisecond, Mbit: 10, Queue: 100 * time.Millisecond}
)

// byLine makes a link of the lab a line, and its hosts, which must all be there, speak TCP as
// Debian's do by default.
func byLine(b *testing.B, top *lab.Topology, link *netlab.Link, line lab.Line) {
	b.Helper()
	const cubic = "cubic"
	if err := allowCongestionControl(b, cubic); err != nil {
		skip(b, fmt.Sprintf("CUBIC in namespaces, by the sysctl "+
			"net.ipv4.tcp_allowed_congestion_control='reno cubic': %v", err))
	}
	must(b, top.SetCongestionControl(cubic))
	stop, err := lab.Stretch(link, line)
	must(b, err)
	top.Defer(stop)
}

// allowCongestionControl lets namespaces use an algorithm for TCP (tcp(7)) until the benchmark
// ends, and puts the machine's setting back.
func allowCongestionControl(b *testing.B, name string) error {
	b.Helper()
	const path = "/proc/sys/net/ipv4/tcp_allowed_congestion_control"
	before, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if slices.Contains(strings.Fields(string(before)), name) {
		return nil
	}
	text := strings.TrimSpace(string(before))
	if err := os.WriteFile(path, []byte(text+" "+name), 0o644); err != nil {
		return err
	}
	b.Cleanup(func() { must(b, os.WriteFile(path, []byte(text), 0o644)) })
	return nil
}

// compareTransfers compares how fast one connection transfers a page and a photo, each again, its
// handshake included.
func compareTransfers(b *testing.B, what string, upload, download float64, ours, theirs path) {
	b.Helper()
	serveTransfers(b, ours)
	serveTransfers(b, theirs)
	const page, photo = 300_000, 5_000_000
	for _, t := range []struct {
		name   string
		size   int
		upload bool
		target float64
	}{
		{"upload of 0.3 MB", page, true, upload}, {"download of 0.3 MB", page, false, download},
		{"upload of 5 MB", photo, true, upload}, {"download of 5 MB", photo, false, download},
	} {
		b.Run(strings.ReplaceAll(t.name, " ", "-"), func(b *testing.B) {
			compareBy(b, what+", "+t.name, t.target, ours, theirs,
				gauge{unit: "Mbit/s",
					measure: func(p path) float64 { return transfer(b, p, t.size, t.upload) }})
		})
	}
}

const (
	sinkPort   = 5301 // takes what comes, and closes when all of it has
	sourcePort = 5302 // sends as many bytes as it is asked for in a line of text
)

// serveTransfers serves both until the benchmark ends.
func serveTransfers(b *testing.B, p path) {
	b.Helper()
	serve := func(port int, handle func(net.Conn)) {
		l, err := p.internet.Listen("tcp",
			net.JoinHostPort(lab.ClientTarget4.String(), strconv.Itoa(port)))
		must(b, err)
		b.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				go func() {
					defer conn.Close()
					handle(conn)
				}()
			}
		}()
	}
	// What goes wrong here, the client's end finds out.
	serve(sinkPort, func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
	serve(sourcePort, func(conn net.Conn) {
		var size int
		if _, err := fmt.Fscanln(conn, &size); err == nil {
			_, _ = conn.Write(make([]byte, size))
		}
	})
}

// transfer returns the rate of one transfer from its first packet to the last, in Mbit/s.
func transfer(b *testing.B, p path, size int, upload bool) float64 {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), waitTimeout)
	defer cancel()
	port, request, answer := sourcePort, []byte(fmt.Sprintln(size)), int64(size)
	if upload {
		port, request, answer = sinkPort, make([]byte, size), 0
	}
	began := time.Now()
	conn, err := p.client.Dial(ctx, "tcp",
		net.JoinHostPort(lab.ClientTarget4.String(), strconv.Itoa(port)))
	must(b, err)
	defer conn.Close()
	must(b, conn.SetDeadline(began.Add(waitTimeout)))
	_, err = conn.Write(request)
	must(b, err)
	must(b, conn.(*net.TCPConn).CloseWrite())
	got, err := io.Copy(io.Discard, conn)
	must(b, err)
	if got != answer {
		b.Fatalf("got %d bytes of %d", got, answer)
	}
	return float64(8*size) / 1e6 / time.Since(began).Seconds()
}

// compareWaiting compares how long pings take while a download fills the line.
func compareWaiting(b *testing.B, what string, target float64, ours, theirs path) {
	b.Helper()
	require(b, netlab.IPerf3)
	compareBy(b, what+", ping during a download", target, ours, theirs,
		gauge{unit: "ms", less: true,
			measure: func(p path) float64 { return pingWhileLoading(b, p, true) }})
}

const (
	pings        = 50
	pingInterval = 100 * time.Millisecond
)

// pingWhileLoading returns the mean time of a ping, in milliseconds, in the last seconds of a
// transfer.
func pingWhileLoading(b *testing.B, p path, download bool) float64 {
	b.Helper()
	ctx, cancel := context.WithTimeout(b.Context(), waitTimeout)
	defer cancel()
	const load = 8 * time.Second
	loaded := make(chan error, 1)
	go func() {
		_, err := lab.IPerf{Server: p.internet, Client: p.client, Addr: lab.ClientTarget4,
			Duration: load, Download: download}.Measure(ctx)
		loaded <- err
	}()
	time.Sleep(load - pings*pingInterval)
	mean := pingMean(b, ctx, p)
	must(b, <-loaded)
	return mean
}

// pingMean returns the mean time of a ping, in milliseconds.
func pingMean(b *testing.B, ctx context.Context, p path) float64 {
	b.Helper()
	out, err := p.client.Run(ctx, "ping", "-q", "-c", strconv.Itoa(pings), "-i",
		fmt.Sprint(pingInterval.Seconds()), lab.ClientTarget4.String())
	must(b, err)
	_, figures, _ := strings.Cut(out, "min/avg/max/mdev = ")
	fields := strings.Split(figures, "/")
	if len(fields) < 4 {
		b.Fatalf("ping says nothing of times: %s", out)
	}
	mean, err := strconv.ParseFloat(fields[1], 64)
	must(b, err)
	return mean
}
