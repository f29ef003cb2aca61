package status

import (
	"strings"
	"testing"
	"time"

	"ztbridge/bridge/health"
	"ztbridge/bridge/reclaim"
)

func TestIdleCondition(t *testing.T) {
	tests := []struct {
		name  string
		usage reclaim.Usage
		arch  string
		want  []string
		not   string
	}{
		{"at first", reclaim.Usage{}, "arm64",
			[]string{
				"below 20 %: CPU (95th percentile), network, memory; nothing is measured yet"},
			"by this measure"},
		{"after a while", reclaim.Usage{CPU: 2.5, Network: 0.1, Memory: 9, Over: 90 * time.Minute},
			"amd64",
			[]string{
				"CPU (95th percentile), network; in the last 1.5 hours: CPU 2.5 %, network 0.1 %, memory 9 %"}, "by this measure"},
		{"after a week", reclaim.Usage{CPU: 2.5, Memory: 9, Over: reclaim.Window}, "arm64",
			[]string{"in the last 7 days", "it is idle by this measure"}, "not idle"},
		{"busy", reclaim.Usage{CPU: 25, Over: reclaim.Window}, "arm64",
			[]string{"it is not idle by this measure"}, "it is idle"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := idleProblem(tt.usage, tt.arch).Fill()
			if p.Code != health.OracleIdle || p.Severity != health.Info ||
				!strings.Contains(p.Remedy, "pay-as-you-go") {
				t.Errorf("%+v", p)
			}
			said := p.Message
			for _, want := range tt.want {
				if !strings.Contains(said, want) {
					t.Errorf("%q does not say %q", said, want)
				}
			}
			if strings.Contains(said, tt.not) {
				t.Errorf("%q says %q", said, tt.not)
			}
		})
	}
}
