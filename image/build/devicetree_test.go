package build

import (
	"encoding/binary"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// smallTree is a device tree with a root and one child that has two "compatible" strings.
func smallTree() []byte {
	const structure, text = 40, 40 + 4*17
	words := func(values ...uint32) (b []byte) {
		for _, v := range values {
			b = binary.BigEndian.AppendUint32(b, v)
		}
		return b
	}
	blob := words(treeMagic, 0, structure, text, 0, 17, 16, 0, 0, 0)
	blob = append(blob, words(tokenBegin, 0, tokenProp, 4, 0, 7, tokenBegin)...)
	blob = append(blob, "mmc\x00"...)
	blob = append(blob, words(tokenProp, 8, 8)...)
	blob = append(blob, "a,b\x00c,d\x00"...)
	blob = append(blob, words(tokenEnd, tokenNothing, tokenEnd, 9)...)
	return append(blob, "phandle\x00compatible\x00"...)
}

func TestDeviceTree(t *testing.T) {
	nodes, err := parseDeviceTree(smallTree())
	if err != nil || len(nodes) != 2 || nodes[1].parent != nodes[0] {
		t.Fatalf("%v, %v", nodes, err)
	}
	if diff := cmp.Diff([]uint32{7}, nodes[0].cells("phandle")); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"a,b", "c,d"}, nodes[1].strings("compatible")); diff != "" {
		t.Error(diff)
	}
}

func FuzzDeviceTree(f *testing.F) {
	f.Add(smallTree())
	f.Fuzz(func(_ *testing.T, blob []byte) { _, _ = parseDeviceTree(blob) })
}
