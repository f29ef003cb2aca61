package config

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// A decoder turns a tree of YAML into values and collects every mistake on the way.
type decoder struct {
	file     string
	base     string // directory that relative names in the file are relative to
	sources  map[*yaml.Node]string
	errs     Errors
	warnings []Warning
	cfg      *Config
	// where remembers the position of names for checks that look at the whole.
	where  map[string]Position
	claims []claim
	paths  []namedPath
	// secrets are the files with one secret each.
	secrets []secretLine
	// egressNames are all names under `egress`, those of faulty ones included: one mistake is
	// reported once.
	egressNames []string
}

// namedPath is where the file names another one, or a folder, and its absolute path.
type namedPath struct {
	node *yaml.Node
	path string
}

func (d *decoder) fail(at Position, class error, problem, remedy string) {
	d.errs = append(d.errs, &Error{Position: at, Problem: problem, Remedy: remedy, Err: class})
}

func (d *decoder) warn(at Position, text string) {
	d.warnings = append(d.warnings, Warning{at, text})
}

// tree parses the one document of a file. A nil node means that a mistake was recorded.
func (d *decoder) tree(data []byte) *yaml.Node {
	top := Position{File: d.file}
	dec := yaml.NewDecoder(bytes.NewReader(data))
	var doc yaml.Node
	if err := dec.Decode(&doc); errors.Is(err, io.EOF) {
		return &yaml.Node{Kind: yaml.MappingNode} // nothing but comments
	} else if err != nil {
		d.syntax(err, data)
		return nil
	}
	if err := dec.Decode(&yaml.Node{}); !errors.Is(err, io.EOF) {
		d.fail(top, ErrSyntax, "there is more than one document",
			"remove the line `---` and what follows it")
		return nil
	}
	root := doc.Content[0]
	if root.Kind == yaml.ScalarNode && root.Tag == "!!null" {
		return &yaml.Node{Kind: yaml.MappingNode}
	}
	if root.Kind != yaml.MappingNode {
		top.Line = root.Line
		d.fail(top, ErrType, "the file is not a list of keys",
			"write `zerotier:` and so on, one key a line")
		return nil
	}
	d.refuseAliases(root)
	return root
}

var yamlLine = regexp.MustCompile(`line (\d+): `)

func (d *decoder) syntax(err error, data []byte) {
	at := Position{File: d.file}
	text := err.Error()
	if m := yamlLine.FindStringSubmatchIndex(text); m != nil {
		at.Line, _ = strconv.Atoi(text[m[2]:m[3]])
		text = text[m[1]:]
	}
	text = strings.TrimPrefix(text, "yaml: ")
	lines := bytes.Split(data, []byte("\n"))
	if at.Line > 0 && at.Line <= len(lines) &&
		bytes.HasPrefix(bytes.TrimLeft(lines[at.Line-1], " "), []byte("\t")) {
		d.fail(at, ErrSyntax, "not valid YAML: this line begins with a tab", "YAML wants spaces")
		return
	}
	d.fail(at, ErrSyntax, "not valid YAML: "+text,
		"look at the indentation and the quotes here and on the line above")
}

// refuseAliases keeps the file plain. An alias hides the meaning of a line, and a few of them can
// expand to gigabytes.
func (d *decoder) refuseAliases(node *yaml.Node) {
	if node.Kind == yaml.AliasNode || node.Anchor != "" {
		d.fail(Position{File: d.file, Line: node.Line}, ErrSyntax,
			"anchors and aliases (& and *) are not supported",
			"write the value out, or put it in quotes if it is a text")
	}
	for _, sub := range node.Content {
		d.refuseAliases(sub)
	}
}

// value is a node and its place.
type value struct {
	d    *decoder
	node *yaml.Node
	key  string
}

func (v value) pos() Position {
	if source, ok := v.d.sources[v.node]; ok {
		return Position{File: source}
	}
	return Position{File: v.d.file, Line: v.node.Line, Key: v.key}
}

func (v value) fail(class error, problem, remedy string) {
	v.d.fail(v.pos(), class, problem, remedy)
}

func (v value) isNull() bool { return v.node.Kind == yaml.ScalarNode && v.node.Tag == "!!null" }

func (v value) sub(name string, node *yaml.Node) value {
	key := name
	if v.key != "" {
		key = v.key + "." + name
	}
	return value{v.d, node, key}
}

type entry struct {
	name string
	value
}

// entries returns the pairs of a mapping in the order of the file. Duplicate keys are mistakes. An
// empty value is an empty mapping. known are the keys that it may have, if those are few.
func (v value) entries(known ...string) []entry {
	if v.isNull() {
		return nil
	}
	if v.node.Kind != yaml.MappingNode {
		hint := "write them as `key: value`"
		if len(known) > 0 {
			hint += "; known here: " + strings.Join(known, ", ")
		}
		v.fail(ErrType, "expected keys with values", hint)
		return nil
	}
	var list []entry
	first := map[string]int{}
	for i := 0; i+1 < len(v.node.Content); i += 2 {
		k, node := v.node.Content[i], v.node.Content[i+1]
		sub := v.sub(k.Value, node)
		if k.Kind != yaml.ScalarNode || k.Value == "" {
			v.d.fail(Position{v.d.file, k.Line, v.key}, ErrType, "a key must be a name", "")
			continue
		}
		if line, dup := first[k.Value]; dup {
			v.d.fail(Position{v.d.file, k.Line, sub.key}, ErrDuplicate,
				fmt.Sprintf("this key is given twice, first on line %d",
					line), "remove one of them")
			continue
		}
		first[k.Value] = k.Line
		sub.node.Line = cmp.Or(sub.node.Line, k.Line)
		list = append(list, entry{k.Value, sub})
	}
	return list
}

type fields map[string]func(value)

// object decodes a mapping whose keys are known. Those of sections count as not written when
// nothing is below them, as is left when all of it is commented out. With any other key, nobody can
// tell whether an empty value means nothing, or everything: its decoder gets it, and refuses it.
func (v value) object(known fields, sections ...string) {
	names := sortedKeys(known)
	for _, e := range v.entries(names...) {
		decode, ok := known[e.name]
		if !ok {
			v.d.fail(Position{v.d.file, e.node.Line, e.key}, ErrUnknownKey, "unknown key",
				didYouMean(e.name, names, "known here: "+strings.Join(names, ", ")))
			continue
		}
		if !e.isNull() || !slices.Contains(sections, e.name) {
			decode(e.value)
		}
	}
}

// items returns the elements of a list, which may have none. A single scalar is a list of one.
func (v value) items() []value {
	switch {
	case v.isNull():
		v.fail(ErrMissing, "nothing is written here", "write a list, or remove the key")
		return nil
	case v.node.Kind == yaml.ScalarNode:
		return []value{v}
	case v.node.Kind != yaml.SequenceNode:
		v.fail(ErrType, "expected a list", "write it as [a, b]")
		return nil
	}
	list := make([]value, len(v.node.Content))
	for i, node := range v.node.Content {
		list[i] = value{v.d, node, fmt.Sprintf("%s[%d]", v.key, i)}
	}
	return list
}

// some returns the elements of a list that means nothing without any; problem and remedy say so.
func (v value) some(problem, remedy string) []value {
	if v.isNull() || v.node.Kind == yaml.SequenceNode && len(v.node.Content) == 0 {
		v.fail(ErrMissing, problem, remedy)
		return nil
	}
	return v.items()
}

// text returns a scalar as it was written. Types of YAML are of no interest: 8056e21000000001 is a
// name here, not a number.
func (v value) text() (string, bool) {
	switch {
	case v.isNull():
		v.fail(ErrMissing, "nothing is written here", "write a value, or remove the key")
		return "", false
	case v.node.Kind != yaml.ScalarNode || v.node.Value == "":
		v.fail(ErrType, "expected a single value", "")
		return "", false
	}
	return v.node.Value, true
}

func (v value) oneOf(words ...string) (string, bool) {
	text, ok := v.text()
	if ok && !slices.Contains(words, text) {
		v.fail(ErrValue, fmt.Sprintf("%q is not known here", text),
			didYouMean(text, words, "write "+join(words)))
		return "", false
	}
	return text, ok
}
