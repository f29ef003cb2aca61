package config

import (
	"errors"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// sections may stand with nothing below them: all that was there may be commented out, and nothing
// widens.
var sections = []string{
	"zerotier", "zerotier.networks", "zerotier.orbit", "zerotier.moon", "ingress", "egress",
	"egress.direct.wan", "inbound",
	"endpoint", "endpoint.clients", "endpoint.https", "probe", "updates", "page",
}

// A key of the reference without its value is a mistake that is told at that key, unless it is a
// section. So is each element of a list.
func TestNothingWritten(t *testing.T) {
	text := uncomment(read(t, "ztbridge.yaml"))
	var paths []string
	walk(t, text, func(key string, _ *yaml.Node) { paths = append(paths, key) })
	if len(paths) < 60 {
		t.Fatalf("the reference has only %d keys", len(paths))
	}
	for _, path := range paths {
		root := walk(t, text, func(key string, node *yaml.Node) {
			if key == path {
				*node = yaml.Node{Kind: yaml.ScalarNode, Tag: "!!null", Line: node.Line}
			}
		})
		blanked, err := yaml.Marshal(root)
		if err != nil {
			t.Fatal(err)
		}
		_, _, err = load(t, folder(t), string(blanked))
		var mistakes Errors
		errors.As(err, &mistakes)
		told := slices.ContainsFunc(mistakes, func(e *Error) bool { return e.Key == path })
		if section := slices.Contains(sections, path); told == section {
			t.Errorf("%s without a value: told %t, a section %t: %v", path, told, section, err)
		}
	}
}

// walk visits every value of a file with its key, and returns the tree.
func walk(t *testing.T, text string, visit func(key string, node *yaml.Node)) *yaml.Node {
	t.Helper()
	d := newDecoder("ztbridge.yaml")
	root := d.tree([]byte(text))
	if root == nil {
		t.Fatal(d.errs)
	}
	var descend func(v value)
	descend = func(v value) {
		if v.key != "" {
			visit(v.key, v.node)
		}
		switch v.node.Kind {
		case yaml.MappingNode:
			for _, e := range v.entries() {
				descend(e.value)
			}
		case yaml.SequenceNode:
			for _, item := range v.items() {
				descend(item)
			}
		}
	}
	descend(value{d: d, node: root})
	return root
}

// What is commented out below a section is as if the section were not there.
func TestEmptySections(t *testing.T) {
	dir := folder(t)
	want, _, wrong := load(t, dir, minimal)
	got, _, err := load(t, dir, minimal+
		"ingress:\ninbound:\nendpoint:\n  # address: vm.example.org\nprobe:\n")
	if diff := cmp.Diff(want, got, same); diff != "" || wrong != nil || err != nil {
		t.Errorf("%v, %v, (-without +empty):\n%s", wrong, err, diff)
	}
}
