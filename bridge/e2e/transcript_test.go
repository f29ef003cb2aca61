package e2e

import (
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
)

var updateTranscripts = flag.Bool("update", false, "write the transcripts of status and doctor")

// screen is how many lines of a terminal a healthy box with one egress may take.
const screen = 24

// transcript compares what status and doctor print with testdata/NAME.txt, until they agree: a
// state may take a moment to be complete. The files are what was reviewed: a difference is read
// before it is written.
func (l *truthLab) transcript(name string) {
	l.t.Helper()
	path := filepath.Join("testdata", name+".txt")
	got := l.printed()
	if *updateTranscripts {
		must(l.t, os.MkdirAll("testdata", 0o755))
		must(l.t, os.WriteFile(path, []byte(got), 0o644))
	}
	want, err := os.ReadFile(path)
	must(l.t, err)
	// As long as a resolver that was slow once on a busy machine is told of.
	for end := time.Now().Add(waitTimeout); got != string(want) && time.Now().Before(end); {
		got = l.printed()
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		l.t.Errorf("%s (-want +got; write all by -update, and read what changed):\n%s", path, diff)
	}
}

// printed returns what status and doctor print, without what differs from run to run.
func (l *truthLab) printed() string {
	status, err := l.box.run("status")
	if status == "" && err != nil { // no daemon runs: all of it is an error
		_, status, _ = strings.Cut(err.Error(), "ztbridge: error:")
		status = "ztbridge: error:" + status + "\n"
	}
	doctor, _ := l.box.run("doctor")
	status = join(status, func(columns int, rest string) bool {
		return columns == 6 || columns == 4 && !strings.HasPrefix(rest, "To fix:")
	})
	doctor = join(doctor, func(columns int, _ string) bool { return columns > 8 })
	return "$ ztbridge status\n" + normal(status, l.box.dir) + "\n$ ztbridge doctor\n" +
		normal(doctor, l.box.dir)
}

// changing are what differs from run to run, each with what stands for it: times, sizes, versions,
// directories.
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
	{
		regexp.MustCompile(
			`(egress provider +|provider: )(reconnecting|connecting|resolving|not connected)`),
		"${1}TRYING"},
}

// normal replaces what changes from run to run.
func normal(text, dir string) string {
	text = strings.ReplaceAll(text, dir, "/etc/ztbridge")
	for _, c := range changing {
		text = c.pattern.ReplaceAllString(text, c.by)
	}
	return text
}

// join puts what was broken into lines together again: where depends on what is replaced later.
// continues says of a line, by its indentation, whether it goes on with the one before.
func join(text string, continues func(columns int, rest string) bool) string {
	var out strings.Builder
	for line := range strings.Lines(text) {
		rest := strings.TrimLeft(line, " ")
		if out.Len() > 0 && continues(len(line)-len(rest), rest) {
			joined := strings.TrimSuffix(out.String(), "\n") + " " + rest
			out.Reset()
			out.WriteString(joined)
			continue
		}
		out.WriteString(line)
	}
	return out.String()
}

// healthyTranscript checks what a person reads where all is well.
func (l *truthLab) healthyTranscript() {
	l.t.Helper()
	l.transcript("healthy")
	status := l.box.mustRun("status")
	if n := strings.Count(status, "\n"); n > screen {
		l.t.Errorf("a healthy box takes %d lines:\n%s", n, status)
	}
}
