package client

import (
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/mysteriumnetwork/go-openvpn/openvpn"
	ovpn "github.com/mysteriumnetwork/go-openvpn/openvpn/management"
	"github.com/mysteriumnetwork/go-openvpn/openvpn/middlewares/client/bytescount"
	"github.com/mysteriumnetwork/go-openvpn/openvpn/middlewares/state"

	"ztbridge/bridge/openvpn/management"
)

// countInterval is how often openvpn reports its byte counters.
const countInterval = 2 * time.Second

// event is what openvpn says, for the loop that supervises it.
type event any

type (
	holdEvent   struct{ seconds int } // that it would wait by itself
	needEvent   struct{ what string } // "Auth" or "Private Key"
	refuseEvent struct{ what, reason string }
	upEvent     struct{ env map[string]string }
	downEvent   struct{}
	stateEvent  struct{ name, detail string }
	failEvent   struct{ failure failure }
	// how often the server says that it sends a ping
	pingEvent struct{ seconds int }
	// the server asks for time, since the connection was made
	pendingEvent struct{ limit time.Duration }
)

// listener is a Middleware that handles the events of one kind.
type listener struct {
	kind   string
	start  func(ovpn.CommandWriter) error // may be nil
	handle func(rest string) error
}

func (l *listener) Start(w ovpn.CommandWriter) error {
	if l.start == nil {
		return nil
	}
	return l.start(w)
}

func (l *listener) Stop(ovpn.CommandWriter) error { return nil }

func (l *listener) ConsumeLine(line string) (bool, error) {
	kind, rest, ok := management.SplitEvent(line)
	if !ok || kind != l.kind {
		return false, nil
	}
	return true, l.handle(rest)
}

// middlewares returns those of a tunnel. post hands an event to the loop; logLine gets each line of
// the log and must not block.
func middlewares(post func(event), logLine func(flags, text string), bytesIn,
	bytesOut *atomic.Uint64) []ovpn.Middleware {
	detail := &stateDetail{}
	count := func(c bytescount.Bytecount) error {
		bytesIn.Store(c.BytesIn)
		bytesOut.Store(c.BytesOut)
		return nil
	}
	return []ovpn.Middleware{
		logListener(logLine),
		&listener{kind: "HOLD", handle: func(rest string) error {
			// "Waiting for hold release:10"
			seconds, _ := strconv.Atoi(rest[strings.LastIndexByte(rest, ':')+1:])
			post(holdEvent{seconds})
			return nil
		}},
		&listener{kind: "PASSWORD", handle: func(rest string) error {
			if e := parsePassword(rest); e != nil {
				post(e)
			}
			return nil
		}},
		upDownListener(post),
		&listener{kind: "FATAL", handle: func(rest string) error {
			logLine("F", rest)
			f, known := classify(rest)
			if !known {
				f = failure{state: StateConfigError, cause: "openvpn gave up: " + rest,
					remedy: remedyProfile}
			}
			post(failEvent{f})
			return nil
		}},
		detail,
		state.NewMiddleware(func(s openvpn.State) {
			post(stateEvent{string(s), detail.take(string(s))})
		}),
		bytescount.NewMiddleware(count, countInterval),
	}
}

// stateDetail remembers the detail of a STATE event for the state middleware behind it, which
// passes on the name alone.
type stateDetail struct{ last management.StateEvent }

func (*stateDetail) Start(ovpn.CommandWriter) error { return nil }
func (*stateDetail) Stop(ovpn.CommandWriter) error  { return nil }

func (d *stateDetail) ConsumeLine(line string) (bool, error) {
	if kind, rest, ok := management.SplitEvent(line); ok && kind == "STATE" {
		var err error
		d.last, err = management.ParseState(rest)
		return false, err
	}
	return false, nil
}

func (d *stateDetail) take(name string) string {
	if d.last.Name != name {
		return ""
	}
	return d.last.Detail
}

func logListener(logLine func(flags, text string)) *listener {
	add := func(rest string) error {
		e, err := management.ParseLog(rest)
		if err == nil {
			logLine(e.Flags, e.Text)
		}
		return err
	}
	return &listener{
		kind:   "LOG",
		handle: add,
		start: func(w ovpn.CommandWriter) error {
			_, lines, err := w.MultiLineCommand("log on all")
			for _, l := range lines {
				_ = add(l) // history; what cannot be read is not worth an error
			}
			return err
		},
	}
}

// parsePassword reads the rest of a PASSWORD event, which is one of
//
//	Need 'Auth' username/password
//	Need 'Private Key' password
//	Verification Failed: 'Auth' ['reason']
//	Auth-Token:…
func parsePassword(rest string) event {
	if text, ok := strings.CutPrefix(rest, "Need '"); ok {
		what, _, _ := strings.Cut(text, "'")
		return needEvent{what}
	}
	if text, ok := strings.CutPrefix(rest, "Verification Failed: '"); ok {
		what, reason, _ := strings.Cut(text, "'")
		return refuseEvent{what, strings.Trim(reason, " []'")}
	}
	return nil
}

// upDownListener gathers the environment of UPDOWN events.
func upDownListener(post func(event)) *listener {
	var env management.Env
	up := false
	return &listener{kind: "UPDOWN", handle: func(rest string) error {
		text, isEnv := strings.CutPrefix(rest, "ENV,")
		if !isEnv {
			up = rest == "UP"
			return nil
		}
		block, complete := env.Add(text)
		switch {
		case complete && up:
			post(upEvent{block})
		case complete:
			post(downEvent{})
		}
		return nil
	}}
}
