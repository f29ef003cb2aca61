package api

import (
	"cmp"
	"slices"
	"strings"

	"github.com/prometheus/client_golang/prometheus"

	"ztbridge/bridge/health"
)

// collector gives the status to Prometheus. It keeps nothing: each scrape reads the snapshot.
type collector struct{ status func() Status }

// newCollector returns a collector over snapshots.
func newCollector(status func() Status) *collector { return &collector{status} }

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("ztbridge_"+name, help, labels, nil)
}

var (
	buildInfo   = desc("build_info", "Always 1; the version is a label.", "version")
	startTime   = desc("start_time_seconds", "When the daemon started, in seconds since 1970.")
	stateMetric = desc("state", "1 for the overall state that holds, 0 for the others.", "state")
	condition   = desc("condition", "1 for each condition that holds.", "code", "subject",
		"severity")
	wanUp        = desc("wan_up", "1 while the box's own connection is up.")
	ingressUp    = desc("ingress_up", "1 while the ingress is up.", "ingress", "kind")
	ingressBytes = desc("ingress_bytes_total", "Bytes through the ingress, as the box sees them.",
		"ingress", "direction")
	ingressPkts = desc("ingress_packets_total",
		"Packets through the ingress, as the box sees them.", "ingress", "direction")
	egressUsable = desc("egress_usable", "1 while packets may leave by the egress.", "egress",
		"kind")
	egressUp = desc("egress_up", "1 while packets may leave by the egress and probes are answered.",
		"egress")
	egressChanges = desc("egress_last_change_timestamp_seconds",
		"When the egress changed its state last, in seconds since 1970.", "egress")
	probeUp = desc("egress_probe_up", "1 while probes of this IP version are answered.", "egress",
		"ip_version")
	pathUp = desc("path_up",
		"1 while the box's own hidden client gets through, as devices do; 0 if not.")
	clientBytes = desc("endpoint_client_bytes_total",
		"Bytes of a connected client of the endpoint, as the box sees them.", "client", "direction")
	deviceBytes = desc("device_bytes_total", "Bytes that a device sent (in) and received (out) "+
		"through this box. Devices that are too many to tell apart are of kind other.",
		"kind", "device", "network", "ip_version", "direction")
	problemCount = desc("problems", "Problems that hold, of each severity.", "severity")
	egressRTT    = desc("egress_rtt_seconds",
		"Round trip of the last probe; absent when none answered.", "egress")
	egressLoss = desc("egress_probe_loss_ratio",
		"Share of the last probes that were not answered.", "egress")
	egressMTU = desc("egress_mtu_bytes", "Path MTU through the egress; absent while unknown.",
		"egress")
	egressBytes = desc("egress_bytes_total", "Bytes through the egress, as the box sees them.",
		"egress", "direction")
	egressPkts = desc("egress_packets_total", "Packets through the egress, as the box sees them.",
		"egress", "direction")
	policyEgress = desc("policy_egress",
		"1 for the egress that a rule uses now; \"none\" when it refuses.", "policy", "egress")
	policyGap = desc("policy_gap_seconds_total",
		"Seconds in which none of a rule's egresses could be used: its traffic was blocked.",
		"policy")
	droppedPkts = desc("dropped_packets_total", "Packets that a layer of the filter refused: no "+
		"rule allows them. Most are strangers' or come while no exit is up.", "layer")
	droppedBytes = desc("dropped_bytes_total", "Bytes of these packets.", "layer")
	clientsCount = desc("endpoint_clients", "Connected clients of the endpoint.")
	passes       = desc("reconcile_passes_total", "Passes over the kernel's state since the start.")
	passSeconds  = desc("reconcile_duration_seconds", "Duration of the last pass.")
	passFailed   = desc("reconcile_failed", "1 when the last pass failed.")
)

// Describe sends nothing: which series there are depends on the configuration (an unchecked
// collector).
func (c *collector) Describe(chan<- *prometheus.Desc) {}

// Collect reads one snapshot.
func (c *collector) Collect(out chan<- prometheus.Metric) {
	s := c.status()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	gauge(buildInfo, 1, s.Version)
	gauge(startTime, float64(s.Started.Unix()))
	for _, state := range []State{Starting, Working, Degraded, Closed} {
		gauge(stateMetric, boolean(s.State == state), string(state))
	}
	// A subject may have several of one code, and no series may come twice.
	told := map[[3]string]bool{}
	for _, held := range s.Conditions {
		// A subject may be the name of an interface, which is any bytes.
		subject := strings.ToValidUTF8(held.Subject, "\ufffd")
		labels := [3]string{string(held.Code), subject, string(held.Severity)}
		if !told[labels] {
			told[labels] = true
			gauge(condition, 1, labels[:]...)
		}
	}
	counts := map[health.Severity]int{health.Error: 0, health.Warning: 0, health.Info: 0}
	through := true
	for _, held := range s.Conditions {
		counts[held.Severity]++
		through = through && !slices.Contains(pathProblems, held.Code)
	}
	for severity, n := range counts {
		gauge(problemCount, float64(n), string(severity))
	}
	gauge(pathUp, boolean(through))
	clientCounters(out, s.Clients)
	deviceCounters(out, s.Traffic)
	droppedCounters(out, s.Dropped)
	gauge(wanUp, boolean(s.WAN.Up))
	gauge(clientsCount, float64(len(s.Clients)))
	gauge(passSeconds, s.Reconcile.Duration)
	gauge(passFailed, boolean(s.Reconcile.Error != ""))
	out <- prometheus.MustNewConstMetric(passes, prometheus.CounterValue,
		float64(s.Reconcile.Passes))
	for _, i := range s.Ingresses {
		gauge(ingressUp, boolean(i.State == "up"), i.Name, i.Kind)
		counters(out, ingressBytes, ingressPkts, i.Name, i.Counters)
	}
	for _, e := range s.Egresses {
		gauge(egressUsable, boolean(e.Usable), e.Name, e.Kind)
		gauge(egressUp, boolean(e.Usable && e.State == "up"), e.Name)
		if !e.LastChange.At.IsZero() {
			gauge(egressChanges, float64(e.LastChange.At.Unix()), e.Name)
		}
		for _, p := range e.Probes {
			gauge(probeUp, boolean(p.Up), e.Name, p.Version)
		}
		gauge(egressLoss, e.Loss, e.Name)
		if e.RTT > 0 {
			gauge(egressRTT, e.RTT, e.Name)
		}
		if e.MTU > 0 {
			gauge(egressMTU, float64(e.MTU), e.Name)
		}
		counters(out, egressBytes, egressPkts, e.Name, e.Counters)
	}
	for _, p := range s.Policies {
		out <- prometheus.MustNewConstMetric(policyGap, prometheus.CounterValue, p.Gap, p.Name)
		if p.Off {
			continue
		}
		egress := cmp.Or(p.Egress, "none")
		gauge(policyEgress, 1, p.Name, egress)
	}
}

// pathProblems are what the hidden client finds.
var pathProblems = []health.Code{health.PathBlocked, health.PathBroken, health.PathDiverted}

// clientCounters sends what each client has carried, over all of its sessions.
func clientCounters(out chan<- prometheus.Metric, clients []Client) {
	sums := map[[2]string]uint64{}
	for _, c := range clients {
		sums[[2]string{c.Name, "in"}] += c.Counters.BytesIn
		sums[[2]string{c.Name, "out"}] += c.Counters.BytesOut
	}
	for labels, n := range sums {
		out <- prometheus.MustNewConstMetric(clientBytes, prometheus.CounterValue, float64(n),
			labels[0], labels[1])
	}
}

// deviceCounters sends what each device has carried. Their number is bounded: see DeviceTraffic.
func deviceCounters(out chan<- prometheus.Metric, list []DeviceTraffic) {
	for _, d := range list {
		for version, t := range map[string]Traffic{"ipv4": d.IPv4, "ipv6": d.IPv6} {
			for direction, n := range map[string]uint64{"in": t.Sent, "out": t.Received} {
				out <- prometheus.MustNewConstMetric(deviceBytes, prometheus.CounterValue,
					float64(n), d.Kind, d.ID, d.Network, version, direction)
			}
		}
	}
}

// droppedCounters sends what each layer of the filter refused.
func droppedCounters(out chan<- prometheus.Metric, list []Dropped) {
	for _, d := range list {
		for desc, n := range map[*prometheus.Desc]uint64{droppedPkts: d.Packets,
			droppedBytes: d.Bytes} {
			out <- prometheus.MustNewConstMetric(desc, prometheus.CounterValue, float64(n), d.Layer)
		}
	}
}

func counters(out chan<- prometheus.Metric, bytes, packets *prometheus.Desc, name string,
	c Counters) {
	for _, m := range []struct {
		desc      *prometheus.Desc
		n         uint64
		direction string
	}{{bytes, c.BytesIn, "in"}, {bytes, c.BytesOut, "out"}, {packets, c.PacketsIn, "in"},
		{packets, c.PacketsOut, "out"}} {
		out <- prometheus.MustNewConstMetric(m.desc, prometheus.CounterValue, float64(m.n), name,
			m.direction)
	}
}

func boolean(b bool) float64 {
	if b {
		return 1
	}
	return 0
}
