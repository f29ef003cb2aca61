package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"ztbridge/bridge/lab"
)

const (
	stripCells = 60                     // cells of a strip
	stripCell  = 100 * time.Millisecond // the shortest time that a cell stands for
)

// screen prints for people. What changes while they look is drawn over itself on a terminal, and
// only once where the output goes elsewhere.
type screen struct {
	out      io.Writer
	terminal bool
	drawn    bool // an unfinished line stands on the terminal
}

func newScreen(f *os.File) *screen {
	st, err := f.Stat()
	return &screen{out: f, terminal: err == nil && st.Mode()&os.ModeCharDevice != 0}
}

// title begins a part.
func (s *screen) title(text string) {
	s.print("\n%s\n%s", text, strings.Repeat("─", len([]rune(text))))
}

// print writes a line.
func (s *screen) print(format string, args ...any) {
	if s.drawn {
		fmt.Fprint(s.out, "\r\033[K")
		s.drawn = false
	}
	fmt.Fprintf(s.out, format+"\n", args...)
}

// draw shows a line that the next draw or print replaces.
func (s *screen) draw(format string, args ...any) {
	if !s.terminal {
		return
	}
	fmt.Fprintf(s.out, "\r\033[K"+format, args...)
	s.drawn = true
}

// strip draws what became of the requests sent from start on, in time: # all were answered, + some,
// . none. It returns the strip and the time that a cell stands for.
func strip(r lab.Report, start, end time.Time) (string, time.Duration) {
	cell := stripCell
	for end.Sub(start) > stripCells*cell {
		cell += stripCell
	}
	var sent, answered [stripCells + 1]int
	used := 0
	for _, round := range r.Rounds {
		if round.Sent.Before(start) || round.Sent.After(end) {
			continue
		}
		i := min(int(round.Sent.Sub(start)/cell), stripCells)
		used = max(used, i+1)
		sent[i]++
		if !round.Received.IsZero() {
			answered[i]++
		}
	}
	var b strings.Builder
	for i := range used {
		switch {
		case sent[i] == 0:
			b.WriteByte(' ')
		case answered[i] == 0:
			b.WriteByte('.')
		case answered[i] < sent[i]:
			b.WriteByte('+')
		default:
			b.WriteByte('#')
		}
	}
	return b.String(), cell
}

// seconds prints a gap for people.
func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// plural prints a count of something.
func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
