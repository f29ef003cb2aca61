package e2e

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/lab"
)

// TestRuleBeginsAtItsTime: when the time of a rule comes, connections that are under way leave by
// its egress within moments, and never by anything else.
func TestRuleBeginsAtItsTime(t *testing.T) {
	t.Parallel()
	const lead = 15 * time.Second // for the box to come up first
	begins := time.Now().UTC().Add(lead).Truncate(time.Minute).Add(time.Minute)
	top, b := newFailover(t, failoverConfig+fmt.Sprintf(`
policy:
  - {at: ["%s-%s UTC"], egress: [second]}
  - {egress: [first]}
`, begins.Format("15:04"), begins.Add(3*time.Hour).Format("15:04")))
	leaks, err := top.WatchLeaks()
	must(t, err)
	b.awaitEgress("")
	if st, err := b.status(); err != nil || !st.Policies[0].Off || st.Policies[1].Off {
		t.Fatalf("before its time the rule is in force: %v\n%+v", err, st.Policies)
	}
	if text, _ := b.run("status"); !strings.Contains(text, "→ not now") {
		t.Errorf("status does not tell that the rule is not in force:\n%s", text)
	}
	if text, _ := b.run("status", "--of", "10.77.0.2"); !strings.Contains(text,
		"rule 1 is not in force now: it is for "+begins.Format("15:04")) {
		t.Errorf("the explanation does not tell of the rule:\n%s", text)
	}
	var streams []*lab.Stream
	for _, version := range []lab.Version{lab.IPv4, lab.IPv6} {
		stream, err := top.ClientStream(lab.UDP, version, 50)
		must(t, err)
		awaitAnswers(t, stream, 20)
		streams = append(streams, stream)
	}
	time.Sleep(time.Until(begins)) // what is tested is the time
	second := []netip.Addr{top.Providers[1].Public4[0], top.Providers[1].Public6[0]}
	for i, stream := range streams {
		await(t, "answers by the rule's egress", func() bool {
			return stream.Report().Between(begins, time.Now()).Egresses()[second[i]] >= 20
		})
		r := stream.Stop()
		// What was under way when the rule began may still be answered.
		for seen, n := range r.Between(begins.Add(3*time.Second), time.Now()).Egresses() {
			if seen != second[i] {
				t.Errorf("%d answers by %s after the rule began", n, seen)
			}
		}
		t.Logf("seen as %v, then %v; longest gap %v", r.Between(time.Time{}, begins).Egresses(),
			r.Between(begins, time.Now()).Egresses(), r.Gap(begins.Add(-time.Second), time.Now()))
	}
	if st := b.awaitEgress("second"); st.Policies[0].Off {
		t.Error("status says that the rule is not in force")
	}
	noLeak(t, leaks)
}
