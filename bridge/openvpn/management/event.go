package management

import (
	"fmt"
	"strconv"
	"strings"
)

// eventKind returns the keyword of an event, for logs: the rest may hold secrets.
func eventKind(line string) string {
	kind, _, _ := strings.Cut(strings.TrimPrefix(line, ">"), ":")
	return kind
}

// SplitEvent splits ">KIND:rest".
func SplitEvent(line string) (kind, rest string, ok bool) {
	line, ok = strings.CutPrefix(line, ">")
	if !ok {
		return "", "", false
	}
	return strings.Cut(line, ":")
}

// StateEvent is the content of a STATE event.
type StateEvent struct {
	Name   string // CONNECTED, RECONNECTING, …
	Detail string // SUCCESS, ERROR, or the reason of a reconnection or an exit
}

// ParseState reads "time,name,detail,…" of a STATE event.
func ParseState(rest string) (StateEvent, error) {
	f := strings.Split(rest, ",")
	if len(f) < 2 || f[1] == "" {
		return StateEvent{}, fmt.Errorf("reading STATE: %w", ErrProtocol)
	}
	if _, err := strconv.ParseUint(f[0], 10, 64); err != nil {
		return StateEvent{}, fmt.Errorf("reading STATE: %w", ErrProtocol)
	}
	e := StateEvent{Name: f[1]}
	if len(f) > 2 {
		e.Detail = f[2]
	}
	return e, nil
}

// LogEvent is the content of a LOG event.
type LogEvent struct {
	Flags string // I, F, N, W, D
	Text  string
}

// ParseLog reads "time,flags,text" of a LOG event.
func ParseLog(rest string) (LogEvent, error) {
	f := strings.SplitN(rest, ",", 3)
	if len(f) != 3 {
		return LogEvent{}, fmt.Errorf("reading LOG: %w", ErrProtocol)
	}
	return LogEvent{Flags: f[1], Text: f[2]}, nil
}

// Env gathers "ENV,name=value" … "ENV,END" blocks of UPDOWN and CLIENT events. OpenVPN sends such a
// block whole, with no other event of its kind in between.
type Env struct {
	values map[string]string
}

// maxEnv bounds the variables of one block.
const maxEnv = 4096

// Add takes the text behind "ENV," and reports the whole block when it was the last line.
func (e *Env) Add(text string) (block map[string]string, complete bool) {
	if text == "END" {
		block, e.values = e.values, nil
		if block == nil {
			block = map[string]string{}
		}
		return block, true
	}
	if e.values == nil {
		e.values = map[string]string{}
	}
	if name, value, ok := strings.Cut(text, "="); ok && name != "" && len(e.values) < maxEnv {
		e.values[name] = value
	}
	return nil, false
}
