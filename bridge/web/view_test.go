package web

import (
	"testing"

	"ztbridge/bridge/api"
)

// TestSentence: a text may begin with any letter, as strangers' names do.
func TestSentence(t *testing.T) {
	for text, want := range map[string]string{"": "", "no exit": "No exit", "élan": "Élan",
		"ß": "ß", "\"a\"": "\"a\"", "世界": "世界"} {
		if got := sentence(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

// TestRulesOfBothVersions: the picture tells of each IP version of a rule.
func TestRulesOfBothVersions(t *testing.T) {
	for _, tt := range []struct {
		rule  api.Policy
		class string
		text  string
	}{
		{api.Policy{}, "", "Blocked"},
		{api.Policy{Wanted: []string{"a"}}, "dead", "Blocked: no exit is connected"},
		{api.Policy{Wanted: []string{"a"}, Egress: "a"}, "used", "Leaves by a"},
		{api.Policy{Wanted: []string{"a"}, Egress6: "a"}, "used", "Blocked, IPv6 by a"},
		{api.Policy{Wanted: []string{"a", "b"}, Egress: "a", Egress6: "b"}, "used",
			"Leaves by a, IPv6 by b (order: a, b)"},
	} {
		if n := ruleNode(tt.rule); n.Class != tt.class || n.Text != tt.text {
			t.Errorf("%+v: %q, %q", tt.rule, n.Class, n.Text)
		}
	}
}
