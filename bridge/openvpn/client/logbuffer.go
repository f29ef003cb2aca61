package client

import (
	"sync"
	"time"
)

// logLines is how much of openvpn's log is kept. It is never written to a file: a deleted TUN
// device makes openvpn print 340,000 lines a second.
const logLines = 200

// maxLogLine bounds a kept line, in bytes.
const maxLogLine = 500

// logBuffer keeps the last lines of a log. Lines that repeat in a row count as one.
type logBuffer struct {
	mu    sync.Mutex
	lines []LogLine // in order, oldest at start
	start int
}

func (r *logBuffer) add(now time.Time, flags, text string) {
	if len(text) > maxLogLine {
		text = text[:maxLogLine] + "…"
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if n := len(r.lines); n > 0 {
		if last := &r.lines[(r.start+n-1)%n]; last.Text == text {
			last.Repeats++
			last.Time = now
			return
		}
	}
	line := LogLine{Time: now, Flags: flags, Text: text}
	if len(r.lines) < logLines {
		r.lines = append(r.lines, line)
		return
	}
	r.lines[r.start] = line
	r.start = (r.start + 1) % logLines
}

// snapshot returns the lines, oldest first.
func (r *logBuffer) snapshot() []LogLine {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := make([]LogLine, 0, len(r.lines))
	out = append(out, r.lines[r.start:]...)
	return append(out, r.lines[:r.start]...)
}
