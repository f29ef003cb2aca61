package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"time"

	"ztbridge/policyroute/netlab"
)

// Throughput is what iperf3 measured with TCP.
type Throughput struct {
	Mbit        float64 // per second, as received
	Retransmits int     // of the sender
}

// IPerf describes a measurement: one TCP connection from a client to a server's address.
type IPerf struct {
	Server, Client *netlab.Namespace
	Addr           netip.Addr // of the server
	Duration       time.Duration
	Download       bool // the server sends, not the client
}

// Measure runs iperf3 at both ends.
func (m IPerf) Measure(ctx context.Context) (Throughput, error) {
	const port = "5201"
	server, err := m.Server.Start(netlab.Command("iperf3", "-s", "-1", "-p", port, "-B",
		m.Addr.String()))
	if err != nil {
		return Throughput{}, err
	}
	defer server.Kill()
	args := []string{"-J", "-c", m.Addr.String(), "-p", port, "-t",
		strconv.Itoa(int(m.Duration.Seconds())), "-O", "1"}
	if m.Download {
		args = append(args, "-R")
	}
	for {
		out, err := m.Client.Run(ctx, "iperf3", args...)
		if err == nil {
			var result Throughput
			if result, err = parseIPerf(out); err == nil {
				return result, nil
			}
		}
		// The server may not listen yet; once it served, it has ended.
		if !server.Running() || ctx.Err() != nil {
			return Throughput{}, fmt.Errorf("measuring throughput: %w: %s", err, server.Log())
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func parseIPerf(out string) (Throughput, error) {
	var result struct {
		Error string `json:"error"`
		End   struct {
			Sent struct {
				Retransmits int `json:"retransmits"`
			} `json:"sum_sent"`
			Received struct {
				BitsPerSecond float64 `json:"bits_per_second"`
			} `json:"sum_received"`
		} `json:"end"`
	}
	if err := json.Unmarshal([]byte(out), &result); err != nil {
		return Throughput{}, fmt.Errorf("reading iperf3's result: %w", err)
	}
	if result.Error != "" { // iperf3 exits with 0 all the same
		return Throughput{}, fmt.Errorf("running iperf3: %s", result.Error)
	}
	return Throughput{Mbit: result.End.Received.BitsPerSecond / 1e6,
		Retransmits: result.End.Sent.Retransmits}, nil
}
