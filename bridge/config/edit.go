package config

import (
	"bytes"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// TunnelEdit is what a configuration is to say of an openvpn egress. Names of files are relative to
// the configuration.
type TunnelEdit struct {
	Name        string // of the egress
	Profile     string
	Collection  bool     // Profile is an archive of profiles
	Pick        []string // of a collection; empty: all
	Credentials string   // empty: none
	// KeepCredentials leaves those of before.
	KeepCredentials bool
	LegacyCrypto    bool
}

// keys are those that an edit sets or removes, in the order of the file.
func (t TunnelEdit) keys() []keyEdit {
	one := func(value string) *yaml.Node {
		if value == "" {
			return nil
		}
		return scalarNode(value)
	}
	var pick *yaml.Node
	if len(t.Pick) > 0 {
		pick = &yaml.Node{Kind: yaml.SequenceNode, Style: yaml.FlowStyle}
		for _, p := range t.Pick {
			pick.Content = append(pick.Content, scalarNode(p))
		}
	}
	legacy := ""
	if t.LegacyCrypto {
		legacy = "true"
	}
	name, _ := t.profileKeys()
	keys := []keyEdit{{name, one(t.Profile)}, {"pick", pick}}
	if !t.KeepCredentials {
		keys = append(keys, keyEdit{"credentials", one(t.Credentials)})
	}
	return append(keys, keyEdit{"legacy_crypto", one(legacy)})
}

// profileKeys returns the key that names the profile, and the one that does not.
func (t TunnelEdit) profileKeys() (is, other string) {
	if t.Collection {
		return "profiles", "profile"
	}
	return "profile", "profiles"
}

// keyEdit sets a key of a mapping, or removes it where the value is nil.
type keyEdit struct {
	key   string
	value *yaml.Node
}

func scalarNode(value string) *yaml.Node {
	n := &yaml.Node{Kind: yaml.ScalarNode, Value: value}
	if value != "true" {
		n.Tag = "!!str"
	}
	return n
}

// AddTunnel returns a configuration's text with one more openvpn egress, as the last one. It is
// also added at the end of the lists of the given rules, numbered from 1. Comments and all else
// stay as they are. It fails with ErrByHand where the text is written in a way that cannot be
// edited, and with ErrDuplicate where there is such an egress.
func AddTunnel(text []byte, t TunnelEdit, rules []int) ([]byte, error) {
	want, err := plainTree(text)
	if err != nil {
		return nil, err
	}
	egresses, _ := want["egress"].(map[string]any)
	if egresses == nil {
		egresses = map[string]any{}
	}
	if egresses[t.Name] != nil {
		return nil, fmt.Errorf("egress %s: %w", t.Name, ErrDuplicate)
	}
	tunnel := map[string]any{}
	body := &yaml.Node{Kind: yaml.MappingNode}
	for _, k := range t.keys() {
		if k.value != nil {
			tunnel[k.key] = plainValue(k.value)
			body.Content = append(body.Content, scalarNode(k.key), k.value)
		}
	}
	egresses[t.Name], want["egress"] = map[string]any{"openvpn": tunnel}, egresses
	e := &editor{text: text}
	e.addEgress(t.Name, &yaml.Node{Kind: yaml.MappingNode,
		Content: []*yaml.Node{scalarNode("openvpn"), body}})
	for _, n := range rules {
		if err := listInRule(want, n, t.Name); err != nil {
			return nil, err
		}
		e.listInRule(n, t.Name)
	}
	return e.result(want)
}

// ReplaceTunnel returns a configuration's text in which an openvpn egress has another profile and
// credentials. Its other keys stay. Comments and all else stay as they are. It fails with ErrByHand
// where the text is written in a way that cannot be edited, and with ErrDangling where there is no
// such egress.
func ReplaceTunnel(text []byte, t TunnelEdit) ([]byte, error) {
	want, err := plainTree(text)
	if err != nil {
		return nil, err
	}
	egresses, _ := want["egress"].(map[string]any)
	egress, _ := egresses[t.Name].(map[string]any)
	tunnel, ok := egress["openvpn"].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("no openvpn egress is called %s: %w", t.Name, ErrDangling)
	}
	e := &editor{text: text}
	path := []string{"egress", t.Name, "openvpn"}
	key, other := t.profileKeys()
	e.rename(path, other, key)
	delete(tunnel, other)
	for _, k := range slices.Backward(t.keys()) { // each new one comes behind the profile
		if e.set(path, key, k); k.value == nil {
			delete(tunnel, k.key)
		} else {
			tunnel[k.key] = plainValue(k.value)
		}
	}
	return e.result(want)
}

// listInRule enters an egress into the list of a rule.
func listInRule(tree map[string]any, n int, egress string) error {
	rules, _ := tree["policy"].([]any)
	if tree["policy"] == nil && n == 1 {
		return nil // without a policy there is one rule, which lists every tunnel
	}
	if n < 1 || n > len(rules) {
		return fmt.Errorf("the policy has no rule %d: %w", n, ErrDangling)
	}
	rule, _ := rules[n-1].(map[string]any)
	key := listKey(func(key string) bool { return rule[key] != nil })
	var list []any
	switch v := rule[key].(type) {
	case []any:
		list = v
	case string:
		list = []any{v}
	}
	if len(list) == 0 || list[0] == blockWord {
		return fmt.Errorf("rule %d of the policy blocks, or has no list of egresses: %w", n,
			ErrDangling)
	}
	rule[key] = append(list, egress)
	return nil
}

// listKey returns the key of a rule whose list gets one more egress.
func listKey(has func(key string) bool) string {
	if !has("egress") && has("choose") {
		return "choose"
	}
	return "egress"
}

// plainTree returns the values of a configuration, all scalars as their text.
func plainTree(text []byte) (map[string]any, error) {
	root, err := parseRoot(text)
	if err != nil {
		return nil, err
	}
	tree, ok := plainValue(root).(map[string]any)
	if !ok {
		return map[string]any{}, nil // nothing but comments
	}
	return tree, nil
}

func plainValue(n *yaml.Node) any {
	switch n.Kind {
	case yaml.MappingNode:
		out := map[string]any{}
		for i := 0; i+1 < len(n.Content); i += 2 {
			out[n.Content[i].Value] = plainValue(n.Content[i+1])
		}
		return out
	case yaml.SequenceNode:
		out := []any{}
		for _, item := range n.Content {
			out = append(out, plainValue(item))
		}
		return out
	case yaml.ScalarNode:
		if n.Tag == "!!null" {
			return nil
		}
		return n.Value
	default:
		return nil
	}
}

// parseRoot returns the mapping of a configuration; an empty one where it has only comments.
func parseRoot(text []byte) (*yaml.Node, error) {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		return nil, errors.Join(ErrSyntax, err)
	}
	if len(doc.Content) == 0 || doc.Content[0].Tag == "!!null" {
		return &yaml.Node{Kind: yaml.MappingNode}, nil
	}
	return doc.Content[0], nil
}

// result returns the edited text if it says what it shall, and nothing else.
func (e *editor) result(want map[string]any) ([]byte, error) {
	if e.err != nil {
		return nil, e.err
	}
	got, err := plainTree(e.text)
	if err != nil || !reflect.DeepEqual(got, want) {
		return nil, ErrByHand // an unusual file: what was written would not be read back
	}
	return e.text, nil
}

// flow returns a value on one line.
func flow(n *yaml.Node) (string, error) {
	setFlow(n)
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	if err := errors.Join(encoder.Encode(n), encoder.Close()); err != nil {
		return "", err
	}
	text := strings.TrimSuffix(b.String(), "\n")
	if strings.Contains(text, "\n") {
		return "", ErrByHand
	}
	return text, nil
}

// setFlow writes collections in brackets. Comments have no place there.
func setFlow(n *yaml.Node) {
	n.HeadComment, n.LineComment, n.FootComment = "", "", ""
	if n.Kind != yaml.ScalarNode {
		n.Style = yaml.FlowStyle
	}
	for _, sub := range n.Content {
		setFlow(sub)
	}
}
