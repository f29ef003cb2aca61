package decide

import "strings"

// EgressList is the ordered list of egresses of a rule. It is comparable: equal lists of two rules
// have one choice and one table.
type EgressList struct {
	names string // each followed by a space, which no name holds
}

// NewEgressList returns the list of the named egresses, in that order.
func NewEgressList(names []string) EgressList {
	var b strings.Builder
	for _, n := range names {
		b.WriteString(n + " ")
	}
	return EgressList{b.String()}
}

// Names returns the egresses in order; nil for the empty list, which blocks.
func (l EgressList) Names() []string { return strings.Fields(l.names) }

// String returns the names, separated by spaces.
func (l EgressList) String() string { return strings.TrimSpace(l.names) }
