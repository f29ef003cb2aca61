package config

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"ztbridge/bridge/statefile"
)

// ErrByHand is returned where a person has to edit the configuration.
var ErrByHand = errors.New("the configuration has to be edited by hand")

// ZeroTierOf returns a configuration's ZeroTier settings, even if the configuration is incomplete.
// They are the service's home directory and the well-formed ids of networks. A file that does not
// exist says nothing.
func ZeroTierOf(path string) (home string, networks []string, err error) {
	home = DefaultZeroTierHome
	node, err := zeroTierNode(path)
	if err != nil || node == nil {
		return home, nil, err
	}
	if h := valueOf(node, "home"); h != nil && h.Value != "" {
		if home = h.Value; !filepath.IsAbs(home) {
			home = filepath.Join(filepath.Dir(path), home)
		}
	}
	for _, id := range networkIDs(node) {
		if text := strings.ToLower(id.Value); networkRE.MatchString(text) {
			networks = append(networks, text)
		}
	}
	return home, networks, nil
}

// AddNetwork writes a network's id into a configuration file as WithNetwork does. It reports
// whether it changed the file, which need not exist.
func AddNetwork(path, id string) (changed bool, err error) {
	before, err := os.ReadFile(path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return false, fmt.Errorf("reading the configuration: %w", err)
	}
	after, err := WithNetwork(before, id, networkPlaceholder)
	if err != nil {
		return false, fmt.Errorf("adding network %s to %s: %w", id, path, err)
	}
	if bytes.Equal(before, after) {
		return false, nil
	}
	return true, Rewrite(path, after)
}

// WithNetwork returns a configuration's text with a network's id. The id replaces another id or the
// placeholder, or becomes the only network. Everything else stays as it is. It fails with ErrByHand
// if there is no such place.
func WithNetwork(before []byte, id, instead string) ([]byte, error) {
	root, err := parseRoot(before)
	if err != nil {
		return nil, err
	}
	text, node := string(before), valueOf(root, "zerotier")
	ids := networkIDs(node)
	is := func(want string) int {
		return slices.IndexFunc(ids,
			func(n *yaml.Node) bool { return strings.ToLower(n.Value) == want })
	}
	switch {
	case is(id) >= 0:
		return before, nil
	case is(instead) >= 0:
		text, err = replaceID(text, ids[is(instead)], id)
	case is(networkPlaceholder) >= 0:
		text, err = replaceID(text, ids[is(networkPlaceholder)], id)
	case node == nil:
		if text != "" && !strings.HasSuffix(text, "\n") {
			text += "\n"
		}
		text += "zerotier:\n  networks: [" + id + "]\n"
	case valueOf(node, "networks") == nil && len(node.Content) > 0:
		e := &editor{text: before}
		e.set([]string{"zerotier"}, "", keyEdit{"networks", &yaml.Node{Kind: yaml.SequenceNode,
			Content: []*yaml.Node{scalarNode(id)}}})
		text, err = string(e.text), e.err
	default:
		err = ErrByHand
	}
	if err == nil && !names(text, id) {
		err = ErrByHand // an unusual file: what was written would not be read back
	}
	return []byte(text), err
}

// names reports whether a configuration names a network.
func names(text, id string) bool {
	root, err := parseRoot([]byte(text))
	return err == nil && slices.ContainsFunc(networkIDs(valueOf(root, "zerotier")),
		func(n *yaml.Node) bool { return n.Value == id })
}

// zeroTierNode returns the value of the key `zerotier` in a file, or nil.
func zeroTierNode(path string) (*yaml.Node, error) {
	data, err := os.ReadFile(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	var root *yaml.Node
	if err == nil {
		root, err = parseRoot(data)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the configuration %s: %w", path, err)
	}
	return valueOf(root, "zerotier"), nil
}

// valueOf returns the value of a key of a mapping, or nil.
func valueOf(node *yaml.Node, key string) *yaml.Node {
	if node == nil || node.Kind != yaml.MappingNode {
		return nil
	}
	if i := pair(node, key); i >= 0 {
		return node.Content[i+1]
	}
	return nil
}

// networkIDs returns the scalars under `networks` that are ids, or stand for them.
func networkIDs(zerotier *yaml.Node) (out []*yaml.Node) {
	list := valueOf(zerotier, "networks")
	if list == nil {
		return nil
	}
	items := list.Content
	if list.Kind == yaml.ScalarNode {
		items = []*yaml.Node{list} // lists of one may be written without brackets
	}
	for _, item := range items {
		if id := valueOf(item, "id"); id != nil {
			item = id
		}
		if item.Kind == yaml.ScalarNode {
			out = append(out, item)
		}
	}
	return out
}

// replaceID replaces a network's id where it stands in the file.
func replaceID(text string, node *yaml.Node, id string) (string, error) {
	start, end, err := scalarSpan([]byte(text), node)
	if err != nil {
		return "", fmt.Errorf("line %d: %w", node.Line, ErrByHand)
	}
	return text[:start] + strings.Replace(text[start:end], node.Value, id, 1) + text[end:], nil
}

// Rewrite replaces the content of a file, or makes it: at once, or not at all. A link is followed.
// Mode and owner stay.
func Rewrite(path string, data []byte) error {
	real, err := filepath.EvalSymlinks(path)
	if errors.Is(err, os.ErrNotExist) {
		return statefile.Write(path, data)
	}
	if err != nil {
		return err
	}
	info, err := os.Stat(real)
	if err != nil {
		return err
	}
	return statefile.Replace(real, data, info.Mode().Perm(), info)
}
