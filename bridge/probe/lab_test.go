package probe

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"ztbridge/policyroute/netlab"
)

// The lab: a target, and a box with a second link, a resolver of its own and a proxy.
//
//	far ──────── 192.0.2.0/24, 2001:db8::/64 ──────── box ──── aside
//	 eth0 .1 ::1                                .2 ::2 eth0  eth1
//
// The box answers for 198.51.100.0/24 and 2001:db8:1::/64, and sends all its own TCP for
// 203.0.113.9 and 2001:db8:9::9 to itself.
const questionsEnv = "ZTB_TEST_PROBE"

// TestMain makes the test program ask questions when it is told to: it must run in the box's
// namespace from its first to its last thread.
func TestMain(m *testing.M) {
	text := os.Getenv(questionsEnv)
	if text == "" {
		os.Exit(m.Run())
	}
	var wg sync.WaitGroup
	for q := range strings.FieldsSeq(text) {
		wg.Go(func() { fmt.Println(q, put(q)) })
	}
	wg.Wait()
}

// put answers one question: its kind, its device and its target, separated by commas.
func put(question string) string {
	part := strings.Split(question, ",")
	kind, target := part[0], netip.MustParseAddr(part[2])
	by := path{device: func() string { return part[1] }}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	var err error
	switch kind {
	case "echo":
		e := newEchoer(by, NewNonce())
		_, err = e.any(ctx, []netip.Addr{target}, maxTimeout)
		e.close()
	case "tcp":
		_, err = connect(ctx, by, []netip.Addr{target}, maxTimeout)
	case "mtu":
		e := newEchoer(by, NewNonce())
		defer e.close()
		targets := []netip.Addr{target}
		first := e.pathMTU(ctx, targets, 0, maxTimeout)
		for _, known := range []int{first, mtuSizes[0]} { // one that holds, and one that may not
			again := e.pathMTU(ctx, targets, known, maxTimeout)
			if again != first && (first != 0 || again != known) { // or nothing is answered
				return fmt.Sprintf("%d, and %d where %d was known", first, again, known)
			}
		}
		return strconv.Itoa(first)
	case "prober":
		return becomesFresh(ctx, Config{Targets: []netip.Addr{target}, Device: by.device})
	}
	if err != nil {
		return "silence"
	}
	return "answered"
}

// becomesFresh runs a whole prober until it is answered, and pauses it.
func becomesFresh(ctx context.Context, cfg Config) string {
	changed := make(chan struct{}, 1)
	cfg.Interval, cfg.HoldDown, cfg.Logger = interval, holdDown, slog.New(slog.DiscardHandler)
	cfg.Notify = func() {
		select {
		case changed <- struct{}{}:
		default:
		}
	}
	p := New(cfg)
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	p.SetActive(true)
	for p.Status().Grade != Fresh {
		select {
		case <-changed:
		case <-ctx.Done():
			cancel()
			return fmt.Sprintf("never answered: %+v", p.Status())
		}
	}
	p.SetActive(false)
	grade := p.Status().Grade
	cancel()
	return fmt.Sprint("fresh, then ", grade, ", ", <-done)
}

// TestAnswersCountOnlyByTheirInterface asks what is behind a device, what is not, and the box
// itself under each of the guises in which it answers: as the owner of an address, for a whole
// prefix, and in place of others. A refused connection is an answer as well.
func TestAnswersCountOnlyByTheirInterface(t *testing.T) {
	netlab.Require(t, netlab.Root)
	box, far := namespace(t, "box"), namespace(t, "far")
	p := netip.MustParsePrefix
	for _, link := range []struct {
		name string
		far  []netip.Prefix
		box  []netip.Prefix
	}{
		{"eth0", []netip.Prefix{p("192.0.2.1/24"), p("2001:db8::1/64")},
			[]netip.Prefix{p("192.0.2.2/24"), p("2001:db8::2/64")}},
		{"eth1", nil, nil},
	} {
		_, err := netlab.Connect(far, netlab.Iface{Name: link.name, Addrs: link.far},
			box, netlab.Iface{Name: link.name, Addrs: link.box})
		must(t, err)
	}
	must(t, box.IP("route add local 198.51.100.0/24 dev lo",
		"route add local 2001:db8:1::/64 dev lo",
		"route add default via 192.0.2.1", "route add default via 2001:db8::1"))
	must(t, box.Nft(`table inet proxy { chain output {
type nat hook output priority -100;
ip daddr 203.0.113.9 redirect
ip6 daddr 2001:db8:9::9 redirect
}
}`))
	want := map[string]string{
		"mtu,eth0,192.0.2.1":    "1500",
		"mtu,eth0,192.0.2.2":    "0",
		"prober,eth0,192.0.2.1": "fresh, then unknown, <nil>",
	}
	for _, kind := range []string{"echo", "tcp"} {
		for target, by := range map[string]string{
			"192.0.2.1": "eth0", "2001:db8::1": "eth0", // far
			"192.0.2.2": "none", "2001:db8::2": "none", "127.0.0.1": "none", "::1": "none",
			"198.51.100.7": "none", "2001:db8:1::7": "none",
			"203.0.113.9": "none", "2001:db8:9::9": "none",
		} {
			for _, device := range []string{"", "eth0", "eth1"} {
				outcome := "silence"
				if device == by || device == "" && by != "none" {
					outcome = "answered"
				}
				want[kind+","+device+","+target] = outcome
			}
		}
	}
	// Where no device is named, as for the box's own way out, what answers connections in the place
	// of others is not told from them; nor is who answers pings so, by which Linux names the
	// interface that they would have left by.
	for _, target := range []string{"198.51.100.7", "2001:db8:1::7", "203.0.113.9",
		"2001:db8:9::9"} {
		delete(want, "tcp,,"+target)
		if target != "198.51.100.7" {
			delete(want, "echo,,"+target)
			delete(want, "echo,eth0,"+target)
		}
	}
	var questions []string
	for q := range want {
		questions = append(questions, q)
	}
	program, err := os.Executable()
	must(t, err)
	out, err := box.Run(t.Context(), "env", questionsEnv+"="+strings.Join(questions, " "), program)
	must(t, err)
	for line := range strings.Lines(out) {
		q, got, _ := strings.Cut(strings.TrimSpace(line), " ")
		if got != want[q] {
			t.Errorf("%s: %s, want %s", q, got, want[q])
		}
		delete(want, q)
	}
	if len(want) > 0 {
		t.Errorf("without an outcome: %v\n%s", want, out)
	}
}

// The box itself is nobody to ask for a connection, also where no device is named.
func TestConnectAsksNotTheBox(t *testing.T) {
	for _, target := range []string{"127.0.0.1", "::1"} {
		if _, err := connect(t.Context(), path{}, []netip.Addr{netip.MustParseAddr(target)},
			maxTimeout); err == nil {
			t.Errorf("%s, the box itself, counts", target)
		}
	}
}

func namespace(t *testing.T, label string) *netlab.Namespace {
	t.Helper()
	n, err := netlab.NewNamespace(label)
	must(t, err)
	t.Cleanup(func() { must(t, n.Close()) })
	return n
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
