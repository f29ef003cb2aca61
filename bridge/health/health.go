package health

import (
	"cmp"
	"slices"
)

// Severity says how much a problem matters to clients.
type Severity string

// The severities, worst first.
const (
	Error   Severity = "error"   // clients are cut off
	Warning Severity = "warning" // clients may notice
	Info    Severity = "info"    // worth knowing
)

var order = []Severity{Error, Warning, Info}

// Compare orders severities, worst first. One that is unknown comes last.
func Compare(a, b Severity) int { return cmp.Compare(a.rank(), b.rank()) }

func (s Severity) rank() int {
	if i := slices.Index(order, s); i >= 0 {
		return i
	}
	return len(order)
}

// AtLeast reports whether s is as severe as least, or worse.
func (s Severity) AtLeast(least Severity) bool { return s.rank() <= least.rank() }

// Code names a kind of problem. Codes are part of the JSON interface: they do not change.
type Code string

// Area is the part of a box that a problem is in.
type Area string

// The areas.
const (
	Box           Area = "box"     // the machine, its own connection, its kernel
	Configuration Area = "config"  // the person's files and choices
	Service       Area = "service" // zerotier-one as a whole
	Network       Area = "network" // the membership in one network
	Tunnel        Area = "tunnel"  // one OpenVPN egress
	Egress        Area = "egress"  // any egress, whatever carries it
	Ingress       Area = "ingress"
	Endpoint      Area = "endpoint" // the box's own OpenVPN server
)

// Kind is what holds for every problem with one code.
type Kind struct {
	Code     Code
	Area     Area
	Severity Severity // the usual one; a problem may have another
	Meaning  string   // what it means for clients, as one sentence
	Remedy   string   // what a person can do; a problem's own remedy is more precise
	// DependsOn are codes that explain this one: while one of them holds, this one is its
	// consequence.
	DependsOn []Code
}

// Problem is something that is not as it should be. It is a value. Programs that prepare the box
// hand it to the daemon as JSON.
type Problem struct {
	Code Code `json:"code"`
	// name of the ingress, egress or network that has it; empty: the box
	Subject  string   `json:"subject,omitempty"`
	Severity Severity `json:"severity,omitempty"` // empty: that of its kind
	Message  string   `json:"message"`            // what is wrong, for people
	Remedy   string   `json:"remedy,omitempty"`   // what a person can do, imperative; empty: nothing
	Command  string   `json:"command,omitempty"`  // a shell command that does it, where one does
}

// Fill returns the problem with the severity of its kind where it has none of its own.
func (p Problem) Fill() Problem {
	if p.Severity == "" {
		kind, _ := Lookup(p.Code)
		p.Severity = kind.Severity
	}
	return p
}

// Lookup returns the kind with a code, and reports whether there is one. A code that another
// version wrote may be unknown.
func Lookup(code Code) (Kind, bool) {
	i, found := slices.BinarySearchFunc(kinds, code,
		func(k Kind, c Code) int { return cmp.Compare(k.Code, c) })
	if !found {
		return Kind{}, false
	}
	return kinds[i], true
}

// AreaOf returns the area of a code, empty if the code is unknown.
func AreaOf(code Code) Area {
	k, _ := Lookup(code)
	return k.Area
}

// Explains returns the first of the present codes of which a problem with that code is the
// consequence, empty if there is none.
func Explains(code Code, present []Code) Code {
	k, _ := Lookup(code)
	for _, c := range k.DependsOn {
		if slices.Contains(present, c) {
			return c
		}
	}
	return ""
}

// Kinds returns the whole registry, sorted by code. The caller may change what it gets.
func Kinds() []Kind { return slices.Clone(kinds) }
