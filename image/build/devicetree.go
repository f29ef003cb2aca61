package build

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
)

// treeNode is a node of a device tree.
type treeNode struct {
	parent     *treeNode
	properties map[string][]byte
}

// strings returns the property's list of strings.
func (n *treeNode) strings(property string) []string {
	return strings.FieldsFunc(string(n.properties[property]), func(r rune) bool { return r == 0 })
}

// cells returns the property's list of numbers.
func (n *treeNode) cells(property string) []uint32 {
	var values []uint32
	for rest := n.properties[property]; len(rest) >= 4; rest = rest[4:] {
		values = append(values, binary.BigEndian.Uint32(rest))
	}
	return values
}

var errDeviceTree = errors.New("not a flattened device tree")

// Tokens of the structure block: https://www.devicetree.org/specifications, chapter 5.
const (
	treeMagic    = 0xd00dfeed
	tokenBegin   = 1
	tokenEnd     = 2
	tokenProp    = 3
	tokenNothing = 4
)

// parseDeviceTree returns the nodes of a flattened device tree, parents before children.
func parseDeviceTree(blob []byte) ([]*treeNode, error) {
	word := func(at int) int {
		if at < 0 || at+4 > len(blob) {
			return -1
		}
		return int(binary.BigEndian.Uint32(blob[at:]))
	}
	if len(blob) < 4 || binary.BigEndian.Uint32(blob) != treeMagic {
		return nil, errDeviceTree
	}
	name := func(at int) (string, bool) {
		if at < 0 || at >= len(blob) {
			return "", false
		}
		text, _, ok := bytes.Cut(blob[at:], []byte{0})
		return string(text), ok
	}
	var nodes []*treeNode
	var current *treeNode
	for at := word(8); ; {
		token := word(at)
		at += 4
		switch token {
		case tokenBegin:
			text, ok := name(at)
			if !ok {
				return nil, errDeviceTree
			}
			current = &treeNode{parent: current, properties: map[string][]byte{}}
			nodes = append(nodes, current)
			at += (len(text)/4 + 1) * 4
		case tokenProp:
			size, key := word(at), word(at+4)
			text, ok := name(word(12) + key)
			if at += 8; !ok || current == nil || size < 0 || size > len(blob)-at {
				return nil, errDeviceTree
			}
			current.properties[text] = blob[at : at+size]
			at += (size + 3) / 4 * 4
		case tokenEnd:
			if current == nil {
				return nil, errDeviceTree
			}
			if current = current.parent; current == nil {
				return nodes, nil
			}
		case tokenNothing:
		default:
			return nil, errDeviceTree
		}
	}
}
