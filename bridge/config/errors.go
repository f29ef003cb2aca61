package config

import (
	"errors"
	"fmt"
	"strings"
)

// The classes of mistake, for errors.Is.
var (
	ErrSyntax       = errors.New("not valid YAML")
	ErrUnknownKey   = errors.New("unknown key")
	ErrDuplicate    = errors.New("duplicate")
	ErrType         = errors.New("wrong type")
	ErrValue        = errors.New("invalid value")
	ErrMissing      = errors.New("missing")
	ErrDangling     = errors.New("dangling name")
	ErrOverlap      = errors.New("overlapping prefixes")
	ErrUnreachable  = errors.New("rule can never match")
	ErrInsecureMode = errors.New("file is readable by others")
	ErrFile         = errors.New("cannot read file")
)

// Position is a place in the configuration.
type Position struct {
	File string // a path, or the variable or flag that set the value
	Line int    // 0: the whole file, or a value that came by a variable or a flag
	Key  string // "egress.provider.openvpn.profile"; empty: the whole file
}

func (p Position) String() string {
	s := p.File
	if p.Line > 0 {
		s = fmt.Sprintf("%s:%d", s, p.Line)
	}
	if p.Key != "" {
		s += ": " + p.Key
	}
	return s
}

// Error is one mistake: where it is, what it is and what to do about it.
type Error struct {
	Position
	Problem string
	Remedy  string // imperative; may be empty when Problem says it all
	Err     error  // one of the classes above, or the cause
}

// Error prints "file:line: key: problem; remedy".
func (e *Error) Error() string {
	s := e.String() + ": " + e.Problem
	if e.Remedy != "" {
		s += "; " + e.Remedy
	}
	return s
}

// Unwrap returns the class.
func (e *Error) Unwrap() error { return e.Err }

// Errors are all mistakes of a configuration, in the order of the file.
type Errors []*Error

// Error prints one mistake a line.
func (e Errors) Error() string {
	lines := make([]string, len(e))
	for i, err := range e {
		lines[i] = err.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns each mistake, for errors.Is and errors.As.
func (e Errors) Unwrap() []error {
	errs := make([]error, len(e))
	for i, err := range e {
		errs[i] = err
	}
	return errs
}

// Warning is something that works and is probably not meant.
type Warning struct {
	Position
	Text string
}

func (w Warning) String() string { return w.Position.String() + ": " + w.Text }
