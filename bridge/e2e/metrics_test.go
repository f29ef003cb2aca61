package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"ztbridge/bridge/api"
	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// scraper is a real prometheus on a client's side.
type scraper struct {
	http.Client
	told string // by its last answer
}

// newScraper starts a prometheus in a namespace that scrapes an address of the box.
func newScraper(t *testing.T, ns *netlab.Namespace, b *box, target string) *scraper {
	t.Helper()
	program, err := exec.LookPath("prometheus")
	if err != nil {
		t.Skip("SKIPPED: prometheus is not installed (package prometheus)")
	}
	b.write("prometheus.yml", fmt.Sprintf("scrape_configs: [{job_name: ztbridge, "+
		"scrape_interval: 1s, static_configs: [{targets: ['%s']}]}]\n", target))
	dir := t.TempDir()
	_, err = ns.Start(exec.Command(program, "--config.file="+b.dir+"/prometheus.yml",
		"--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address=127.0.0.1:9090",
		"--log.level=error"))
	must(t, err)
	return &scraper{Client: http.Client{Transport: &http.Transport{DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			return ns.Dial(ctx, network, address)
		}}}}
}

// value returns what a query gives, the sum of its series; 0 while there is no answer.
func (s *scraper) value(query string) float64 {
	answer, err := s.Get("http://127.0.0.1:9090/api/v1/query?" +
		url.Values{"query": {"sum(" + query + ")"}}.Encode())
	if err != nil {
		s.told = err.Error()
		return 0
	}
	defer answer.Body.Close()
	var body struct {
		Data struct{ Result []struct{ Value [2]any } }
	}
	text, err := io.ReadAll(answer.Body)
	s.told = query + ": " + string(text)
	if err != nil || json.Unmarshal(text, &body) != nil || len(body.Data.Result) == 0 {
		return 0
	}
	value, _ := body.Data.Result[0].Value[1].(string)
	n, _ := strconv.ParseFloat(value, 64)
	return n
}

// TestDeviceTotals: what a client sends and receives is counted for it in both IP versions, is what
// a real prometheus finds, and goes on after a restart.
func TestDeviceTotals(t *testing.T) {
	t.Parallel()
	top, b := newFailover(t, failoverConfig+"history: true\nmetrics: {listen: 10.77.0.1:9790}\n")
	prometheus := newScraper(t, top.Client, b, "10.77.0.1:9790")
	b.awaitEgress("first")
	const client4 = "10.77.0.2"
	total := func(st api.Status) (sum api.Traffic) {
		for _, d := range st.Traffic {
			sum.Sent, sum.Received = sum.Sent+d.Total().Sent, sum.Received+d.Total().Received
		}
		return sum
	}
	var seen uint64
	for _, version := range []lab.Version{lab.IPv4, lab.IPv6} {
		stream, err := top.ClientStream(lab.UDP, version, 50)
		must(t, err)
		awaitAnswers(t, stream, 20)
		stream.Stop()
	}
	st := b.await("both IP versions counted", func(st api.Status) bool {
		var v4, v6 bool
		for _, d := range st.Traffic {
			v4 = v4 || d.ID == client4 && d.IPv4.Sent > 0 && d.IPv4.Received > 0
			v6 = v6 || d.IPv6.Sent > 0 && d.IPv6.Received > 0
		}
		return v4 && v6
	})
	seen = total(st).Sent
	defer func() {
		if t.Failed() {
			t.Logf("prometheus said last: %s", prometheus.told)
		}
	}()
	await(t, "prometheus to find it", func() bool {
		return prometheus.value(`ztbridge_device_bytes_total{device="`+client4+
			`",ip_version="ipv4",direction="out"}`) > 0 &&
			prometheus.value("ztbridge_device_bytes_total{ip_version=\"ipv6\"}") > 0 &&
			prometheus.value("ztbridge_egress_up") == 2
	})
	// Nobody behind the ingress has this address.
	if _, err := top.Client.Run(t.Context(), "ip", "addr", "add", "198.51.100.77/32", "dev",
		"lo"); err != nil {
		t.Fatal(err)
	}
	dropped := func() float64 { return prometheus.value("sum(ztbridge_dropped_packets_total)") }
	before := dropped()
	await(t, "prometheus to find what was refused", func() bool {
		_, _ = top.Client.Run(t.Context(), "ping", "-c1", "-W1", "-I", "198.51.100.77",
			lab.ClientTarget4.String()) // no answer is what it is about
		return dropped() > before
	})
	if text := b.mustRun("status", "-v"); !strings.Contains(text, "traffic of each device") {
		t.Errorf("status -v does not tell of it:\n%s", text)
	}
	b.stop()
	b.start()
	b.await("the totals after a restart", func(st api.Status) bool {
		return total(st).Sent >= seen
	})
}
