package main

import (
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	for _, tt := range []struct {
		name   string
		events string
		well   bool
		says   []string
	}{
		{
			name: "a skipped test is named with its reason, a passed one is counted",
			events: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"=== RUN   TestA\n"}
{"Action":"pass","Package":"p","Test":"TestA","Elapsed":0.1}
{"Action":"run","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Test":"TestB","Output":"    b_test.go:7: needs root\n"}
{"Action":"output","Package":"p","Test":"TestB","Output":"--- SKIP: TestB (0.00s)\n"}
{"Action":"skip","Package":"p","Test":"TestB"}
{"Action":"pass","Package":"p","Elapsed":0.2}`,
			well: true,
			says: []string{"SKIPPED, which proves nothing:\n  p TestB: b_test.go:7: needs root\n",
				"\n1 passed, 0 failed, 1 skipped\n"},
		},
		{
			name: "a failed test is quoted",
			events: `{"Action":"run","Package":"p","Test":"TestA"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:9: got 1\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"    a_test.go:12: log of the daemon:\n"}
{"Action":"output","Package":"p","Test":"TestA","Output":"        state=up\n"}
{"Action":"fail","Package":"p","Test":"TestA"}
{"Action":"fail","Package":"p"}`,
			says: []string{"FAILED: p TestA\n    a_test.go:9: got 1\n", "        state=up\n",
				"FAILED:\n  p TestA\n      a_test.go:9: got 1\n      a_test.go:12: log of the daemon:\n\n",
				"\n0 passed, 1 failed, 0 skipped\n"},
		},
		{
			name: "a test that a panic or a timeout ended has failed",
			events: `{"Action":"pass","Package":"p","Test":"TestA"}
{"Action":"run","Package":"p","Test":"TestB"}
{"Action":"output","Package":"p","Test":"TestB","Output":"panic: test timed out\n"}
{"Action":"fail","Package":"p"}`,
			says: []string{"FAILED: p TestB\npanic: test timed out",
				"\n1 passed, 1 failed, 0 skipped\n"},
		},
		{
			name: "what does not compile has failed",
			events: `{"ImportPath":"p","Action":"build-output","Output":"a.go:1: syntax error\n"}
{"Action":"pass","Package":"q","Test":"TestA"}
{"Action":"fail","Package":"p","FailedBuild":"p"}`,
			says: []string{"a.go:1: syntax error", "FAILED:\n  p\n",
				"\n1 passed, 1 failed, 0 skipped\n"},
		},
		{name: "no test at all is no success", events: "",
			says: []string{"\n0 passed, 0 failed, 0 skipped\n"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			r := newReport(&out)
			if err := r.read(strings.NewReader(tt.events)); err != nil {
				t.Fatal(err)
			}
			if well := r.conclude(); well != tt.well {
				t.Errorf("well is %v, want %v", well, tt.well)
			}
			for _, want := range tt.says {
				if !strings.Contains(out.String(), want) {
					t.Errorf("the report lacks %q:\n%s", want, out.String())
				}
			}
		})
	}
}
