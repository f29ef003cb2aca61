package config

import (
	"bytes"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// An editor changes a YAML text in place: what is not meant stays byte for byte. After an error it
// does nothing more.
type editor struct {
	text []byte
	err  error
}

// at returns the value at a path of keys; nil: there is none.
func (e *editor) at(path ...string) *yaml.Node {
	root, err := parseRoot(e.text)
	if err != nil {
		e.err = err
		return nil
	}
	return find(root, path...)
}

// mapping returns the mapping at a path, nil after an error.
func (e *editor) mapping(path []string) *yaml.Node {
	if e.err != nil {
		return nil
	}
	node := e.at(path...)
	if node == nil || node.Kind != yaml.MappingNode {
		e.err = ErrByHand
		return nil
	}
	return node
}

// rename gives a key of the mapping at a path another name, if it is there.
func (e *editor) rename(path []string, from, to string) {
	node := e.mapping(path)
	if node == nil || pair(node, from) < 0 {
		return
	}
	start, end, err := scalarSpan(e.text, node.Content[pair(node, from)])
	if err != nil {
		e.err = ErrByHand
		return
	}
	e.splice(start, end, to)
}

// set sets or removes a key of the mapping at a path. A new one comes behind the key first.
func (e *editor) set(path []string, first string, k keyEdit) {
	node := e.mapping(path)
	if node == nil {
		return
	}
	if node.Style&yaml.FlowStyle != 0 {
		e.setFlow(node, k)
		return
	}
	i := pair(node, k.key)
	switch {
	case i < 0 && k.value == nil:
	case len(node.Content) == 0:
		e.err = ErrByHand
	case i < 0:
		at := max(pair(node, first), 0)
		e.insertPair(node.Content[at], k, e.blockEnd(node.Content[at], true))
	case k.value == nil:
		e.removePair(node.Content[i])
	default:
		e.replaceValue(node.Content[i], node.Content[i+1], k)
	}
}

// pair returns the index of a key in a mapping, -1 if it has none.
func pair(node *yaml.Node, key string) int {
	for i := 0; i+1 < len(node.Content); i += 2 {
		if node.Content[i].Value == key {
			return i
		}
	}
	return -1
}

// setFlow writes a mapping in braces again.
func (e *editor) setFlow(node *yaml.Node, k keyEdit) {
	i := pair(node, k.key)
	switch {
	case i < 0 && k.value == nil:
		return
	case i < 0:
		node.Content = append(node.Content, scalarNode(k.key), k.value)
	case k.value == nil:
		node.Content = slices.Delete(node.Content, i, i+2)
	default:
		node.Content[i+1] = k.value
	}
	e.rewriteFlow(node)
}

// rewriteFlow puts a collection in brackets in the place of what it was.
func (e *editor) rewriteFlow(node *yaml.Node) {
	start, ok := offsetOf(e.text, node)
	end := flowEnd(e.text, start)
	if !ok || end < 0 {
		e.err = ErrByHand
		return
	}
	text, err := flow(node)
	if err != nil {
		e.err = err
		return
	}
	e.splice(start, end, text)
}

// replaceValue puts another value behind a key of a block mapping.
func (e *editor) replaceValue(key, value *yaml.Node, k keyEdit) {
	if start, end, err := scalarSpan(e.text, value); err == nil {
		if text, err := flow(k.value); err != nil {
			e.err = err
		} else {
			e.splice(start, end, text)
		}
		return
	}
	e.insertPair(key, k, e.blockEnd(key, true))
	e.removePair(key)
}

// insertPair writes a key with its value before a line, as deep as another key.
func (e *editor) insertPair(like *yaml.Node, k keyEdit, line int) {
	text, err := flow(k.value)
	if err != nil {
		e.err = err
		return
	}
	e.insertLine(line, strings.Repeat(" ", like.Column-1)+k.key+": "+text)
}

// removePair removes a key of a block mapping and its value. The lines of comments between stay.
func (e *editor) removePair(key *yaml.Node) {
	lines := e.lines()
	if strings.TrimSpace(string([]rune(lines[key.Line-1])[:key.Column-1])) != "" {
		e.err = ErrByHand // something else stands before it on the line
		return
	}
	e.text = []byte(strings.Join(slices.Delete(lines, key.Line-1, e.blockEnd(key, false)), ""))
}

// blockEnd returns the number of lines up to the end of what is below a key of a block mapping.
// Deeper comments belong to it, empty lines after it do not. Without comments, those at its end do
// not either.
func (e *editor) blockEnd(key *yaml.Node, comments bool) int {
	lines, end := e.lines(), key.Line
	for i := key.Line; i < len(lines); i++ {
		body := strings.TrimLeft(lines[i], " ")
		depth := len(lines[i]) - len(body)
		item := depth == key.Column-1 && strings.HasPrefix(body, "- ")
		blank := strings.TrimSpace(body) == ""
		if !blank && depth < key.Column && !item {
			break
		}
		if !blank && (comments || !strings.HasPrefix(body, "#")) {
			end = i + 1
		}
	}
	return end
}

// addEgress writes an egress behind all others.
func (e *editor) addEgress(name string, value *yaml.Node) {
	if e.err != nil {
		return
	}
	node := e.at("egress")
	switch {
	case e.err != nil:
	case node == nil:
		e.insertLine(len(e.lines()), "egress:")
		e.insertBlock(len(e.lines()), 2, name, value)
	case node.Tag == "!!null" && node.Value == "":
		root := e.at()
		key := root.Content[pair(root, "egress")]
		e.insertBlock(key.Line, 2, name, value)
	case node.Kind != yaml.MappingNode:
		e.err = ErrByHand
	case node.Style&yaml.FlowStyle != 0:
		node.Content = append(node.Content, scalarNode(name), value)
		e.rewriteFlow(node)
	default:
		last := node.Content[len(node.Content)-2]
		e.insertBlock(e.blockEnd(last, true), last.Column-1, name, value)
	}
}

// insertBlock writes a key with a mapping of mappings before a line.
func (e *editor) insertBlock(line, indent int, name string, value *yaml.Node) {
	inner := value.Content[1]
	out := []string{strings.Repeat(" ", indent) + name + ":",
		strings.Repeat(" ", indent+2) + value.Content[0].Value + ":"}
	for i := 0; i+1 < len(inner.Content); i += 2 {
		text, err := flow(inner.Content[i+1])
		if err != nil {
			e.err = err
			return
		}
		out = append(out, strings.Repeat(" ", indent+4)+inner.Content[i].Value+": "+text)
	}
	e.insertLine(line, out...)
}

// listInRule writes an egress at the end of a rule's list.
func (e *editor) listInRule(n int, egress string) {
	if e.err != nil {
		return
	}
	rules := e.at("policy")
	if rules == nil || rules.Tag == "!!null" {
		return
	}
	if n > len(rules.Content) {
		e.err = ErrByHand
		return
	}
	rule := rules.Content[n-1]
	list := valueOf(rule, listKey(func(key string) bool { return valueOf(rule, key) != nil }))
	switch {
	case list == nil:
		e.err = ErrByHand
	case list.Kind == yaml.ScalarNode:
		start, end, err := scalarSpan(e.text, list)
		text, bad := flow(&yaml.Node{Kind: yaml.SequenceNode,
			Content: []*yaml.Node{scalarNode(list.Value), scalarNode(egress)}})
		if err != nil || bad != nil {
			e.err = ErrByHand
			return
		}
		e.splice(start, end, text)
	case list.Style&yaml.FlowStyle != 0:
		list.Content = append(list.Content, scalarNode(egress))
		e.rewriteFlow(list)
	case len(list.Content) > 0:
		last := list.Content[len(list.Content)-1]
		e.insertLine(last.Line, strings.Repeat(" ", list.Column-1)+"- "+egress)
	}
}

func (e *editor) lines() []string {
	lines := strings.SplitAfter(string(e.text), "\n")
	if lines[len(lines)-1] == "" {
		lines = lines[:len(lines)-1]
	}
	return lines
}

// insertLine writes lines behind the first ones of the text.
func (e *editor) insertLine(behind int, add ...string) {
	end := "\n"
	if bytes.Contains(e.text, []byte("\r\n")) {
		end = "\r\n"
	}
	lines := e.lines()
	behind = min(behind, len(lines))
	if behind > 0 && !strings.HasSuffix(lines[behind-1], "\n") {
		lines[behind-1] += end
	}
	for i := range add {
		add[i] += end
	}
	e.text = []byte(strings.Join(slices.Insert(lines, behind, add...), ""))
}

func (e *editor) splice(start, end int, with string) {
	e.text = slices.Concat(e.text[:start], []byte(with), e.text[end:])
}

// offsetOf returns where a node begins in a text.
func offsetOf(text []byte, node *yaml.Node) (int, bool) {
	lines, at := bytes.SplitAfter(text, []byte("\n")), 0
	if node.Line < 1 || node.Line > len(lines) {
		return 0, false
	}
	for _, line := range lines[:node.Line-1] {
		at += len(line)
	}
	runes := []rune(string(lines[node.Line-1])) // a column counts characters
	if node.Column < 1 || node.Column > len(runes) {
		return 0, false
	}
	return at + len(string(runes[:node.Column-1])), true
}

// scalarSpan returns where a scalar of one line begins and ends in a text, quotes included.
func scalarSpan(text []byte, node *yaml.Node) (start, end int, err error) {
	start, ok := offsetOf(text, node)
	if !ok || node.Kind != yaml.ScalarNode || node.Value == "" {
		return 0, 0, errScalar
	}
	for _, quote := range []string{"", `"`, "'"} {
		if old := quote + node.Value + quote; bytes.HasPrefix(text[start:], []byte(old)) {
			return start, start + len(old), nil
		}
	}
	return 0, 0, errScalar
}

// flowEnd returns the offset after the bracket that closes the one at start. It is -1 if there is
// none, or a comment lies between.
func flowEnd(text []byte, start int) int {
	depth := 0
	var quote byte
	for i := start; start > 0 && i < len(text); i++ {
		c := text[i]
		switch {
		case quote == '"' && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0 // a doubled quote opens again at once
			}
		case (c == '"' || c == '\'') && strings.ContainsRune(" [{,:\n", rune(text[i-1])):
			quote = c
		case c == '#' && strings.ContainsRune(" \t\n", rune(text[i-1])):
			return -1
		case c == '[' || c == '{':
			depth++
		case c == ']' || c == '}':
			if depth--; depth == 0 {
				return i + 1
			}
		}
	}
	return -1
}
