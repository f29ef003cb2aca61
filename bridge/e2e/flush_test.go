package e2e

import (
	"testing"
	"time"

	"ztbridge/bridge/lab"
)

// TestFlushesInARow has another program flush all filters and all connections, six times as fast as
// it can, while a client's flow goes on: what began without the filter must not go on without
// translation.
func TestFlushesInARow(t *testing.T) {
	t.Parallel()
	const (
		rounds  = 5
		longest = 5 * time.Second
	)
	top, b, leaks := watchedGateway(t)
	var streams []*lab.Stream
	for _, version := range []lab.Version{lab.IPv4, lab.IPv6} {
		s, err := top.ClientStream(lab.UDP, version, 200)
		must(t, err)
		awaitAnswers(t, s, 10)
		streams = append(streams, s)
	}
	for range rounds {
		b.sh("for i in 1 2 3 4 5 6; do nft flush ruleset; conntrack -F; done 2>/dev/null")
		for _, s := range streams {
			awaitAnswers(t, s, 20)
		}
	}
	for _, s := range streams {
		r := s.Stop()
		t.Logf("%d times six flushes: %v", rounds, r)
		if r.LongestGap() > longest {
			t.Errorf("the flow stood for %v", r.LongestGap())
		}
	}
	noLeak(t, leaks)
}
