package e2e

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/google/go-cmp/cmp"
)

var updateTranscripts = flag.Bool("update", false, "write the transcripts of status and doctor")

// screen is how many lines of a terminal a healthy box with one egress may take.
const screen = 24

// transcript compares what status and doctor print with testdata/NAME.txt. The files are what was
// reviewed: a difference is read before it is written.
func (l *truthLab) transcript(name string) {
	l.t.Helper()
	status, err := l.box.run("status")
	if status == "" && err != nil { // no daemon runs: all of it is an error
		_, status, _ = strings.Cut(err.Error(), "ztbridge: error:")
		status = "ztbridge: error:" + status + "\n"
	}
	doctor, _ := l.box.run("doctor")
	got := "$ ztbridge status\n" + normal(status, l.box.dir) + "\n$ ztbridge doctor\n" +
		normal(doctor, l.box.dir)
	path := filepath.Join("testdata", name+".txt")
	if *updateTranscripts {
		must(l.t, os.MkdirAll("testdata", 0o755))
		must(l.t, os.WriteFile(path, []byte(got), 0o644))
	}
	var want []byte
	want, err = os.ReadFile(path)
	must(l.t, err)
	if diff := cmp.Diff(string(want), got); diff != "" {
		l.t.Errorf("%s (-want +got; write all by -update, and read what changed):\n%s", path, diff)
	}
}

// changing are what differs from run to run, each with what stands for it: times, sizes, versions,
// directories. A line that is broken elsewhere for it is joined first.
var changing = []struct {
	pattern *regexp.Regexp
	by      string
}{
	{regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:]+Z`), "TIME"},
	{regexp.MustCompile(`\d{4}-\d\d-\d\d`), "DATE"},
	{regexp.MustCompile(`\b(\d+[dhms] )?\d+[dhms]\b`), "TIME"},
	{regexp.MustCompile(`\d+(\.\d+)?(ms|µs)`), "TIME"},
	{regexp.MustCompile(`, \d+ ms`), ", TIME"},
	{regexp.MustCompile(`, \d+ % lost`), ""},
	{regexp.MustCompile(`\d+(\.\d+)? ([KMG]i)?B\b`), "SIZE"},
	{regexp.MustCompile(`ztbridge [^ ]+, running`), "ztbridge VERSION, running"},
	{regexp.MustCompile(`(ok +openvpn +)[\d.]+`), "${1}VERSION"},
	{regexp.MustCompile(`(udp|tcp) 203\.0\.113\.[23]:`), "$1 203.0.113.2:"},
	{regexp.MustCompile(`(egress provider +|provider: )(reconnecting|connecting|resolving|backoff)`),
		"${1}TRYING"},
}

// normal replaces what changes from run to run.
func normal(text, dir string) string {
	text = joined.ReplaceAllString(text, " $1$2$3")
	text = strings.ReplaceAll(text, dir, "/etc/ztbridge")
	for _, c := range changing {
		text = c.pattern.ReplaceAllString(text, c.by)
	}
	return text
}

// joined matches where a paragraph was broken into lines: further in than titles, and not as far as
// a command.
var joined = regexp.MustCompile(
	`\n(?: {5,7}([^ ])| {12,}([^ ])| {4}(in |out |[\d.]+ [KMm]|[KMG]?i?B\b))`)

// healthyTranscript checks what a person reads where all is well.
func (l *truthLab) healthyTranscript() {
	l.t.Helper()
	l.transcript("healthy")
	status := l.box.mustRun("status")
	if n := strings.Count(status, "\n"); n > screen {
		l.t.Errorf("a healthy box takes %d lines:\n%s", n, status)
	}
}
