package build

import (
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"ztbridge/image/build/kmod"
)

// checkBoards returns an error that names modules which a board of the profile would lack. Those
// are modules that its device tree needs and the root leaves out, and modules that its card reader
// needs and the initramfs does not load. Modules in dropModules are left out on purpose.
func checkBoards(p Profile, k kernel, root *tree) error {
	if len(p.Boards) == 0 {
		return nil
	}
	kmods, err := kmod.Open(os.DirFS(k.modules))
	if err != nil {
		return fmt.Errorf("indexing kernel modules: %w", err)
	}
	var early []string
	for _, list := range p.moduleLists()[:2] {
		early = append(early, list.modules...)
	}
	loaded, err := kmods.Resolve(early...)
	if err != nil {
		return fmt.Errorf("choosing modules for the initramfs: %w", err)
	}
	var missing []string
	for _, name := range p.Boards {
		b, err := readBoard(filepath.Join(k.trees, name+".dtb"), kmods)
		if err != nil {
			return err
		}
		for _, file := range b.modules(b.enabled()) {
			if !root.has(path.Join("usr/lib/modules", k.version, file)) && !droppedForAll(file) {
				missing = append(missing, name+": "+file+" is not in the root")
			}
		}
		for _, file := range b.modules(b.suppliersOf(b.cardReaders())) {
			if !slices.Contains(loaded, file) {
				missing = append(missing, name+": "+file+" is not in the initramfs")
			}
		}
	}
	if len(missing) > 0 {
		slices.Sort(missing)
		return fmt.Errorf("checking the drivers of boards:\n%s", strings.Join(missing, "\n"))
	}
	return nil
}

// droppedForAll reports whether the module is in a folder that every target leaves out.
func droppedForAll(file string) bool {
	return slices.ContainsFunc(dropModules, func(folder string) bool {
		return strings.HasPrefix(file, "kernel/"+folder+"/")
	})
}

// board is a parsed device tree with an index of its nodes by their handles.
type board struct {
	kmods   *kmod.Tree
	nodes   []*treeNode
	handles map[uint32]*treeNode
}

func readBoard(file string, kmods *kmod.Tree) (*board, error) {
	blob, err := os.ReadFile(file)
	if err != nil {
		return nil, fmt.Errorf("reading a board's device tree: %w", err)
	}
	nodes, err := parseDeviceTree(blob)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", filepath.Base(file), err)
	}
	b := &board{kmods: kmods, nodes: nodes, handles: map[uint32]*treeNode{}}
	for _, n := range nodes {
		if handle := n.cells("phandle"); len(handle) == 1 {
			b.handles[handle[0]] = n
		}
	}
	return b, nil
}

// enabled returns the nodes for which the kernel makes devices.
func (b *board) enabled() []*treeNode {
	return slices.DeleteFunc(slices.Clone(b.nodes), func(n *treeNode) bool {
		for ; n != nil; n = n.parent {
			if s := n.strings("status"); len(s) > 0 && s[0] != "okay" && s[0] != "ok" {
				return true
			}
		}
		return false
	})
}

// modules returns the files of the modules that drive the nodes. Built-in drivers have none.
func (b *board) modules(nodes []*treeNode) []string {
	var files []string
	for _, n := range nodes {
		for _, compatible := range n.strings("compatible") {
			for _, module := range b.kmods.Compatible(compatible) {
				if file := b.kmods.File(module); file != "" && !slices.Contains(files, file) {
					files = append(files, file)
				}
			}
		}
	}
	return files
}

// cardReaders returns the enabled nodes whose driver is an SD card host.
func (b *board) cardReaders() []*treeNode {
	return slices.DeleteFunc(b.enabled(), func(n *treeNode) bool {
		return !slices.ContainsFunc(b.modules([]*treeNode{n}), func(file string) bool {
			return strings.HasPrefix(file, "kernel/drivers/mmc/host/")
		})
	})
}

// suppliersOf returns the nodes and all nodes that must work before the kernel probes them. Those
// are their buses and the nodes that their properties refer to.
func (b *board) suppliersOf(nodes []*treeNode) []*treeNode {
	var all []*treeNode
	var add func(n *treeNode)
	add = func(n *treeNode) {
		if n == nil || slices.Contains(all, n) {
			return
		}
		all = append(all, n)
		add(n.parent)
		for property := range n.properties {
			for _, supplier := range b.references(n, property) {
				add(supplier)
			}
		}
	}
	for _, n := range nodes {
		add(n)
	}
	return all
}

// argumentCells maps a property to the supplier's property that counts the cells after its handle.
// Empty: no cells follow.
var argumentCells = map[string]string{
	"assigned-clocks": "#clock-cells", "clocks": "#clock-cells", "dmas": "#dma-cells",
	"gpios": "#gpio-cells", "interrupt-parent": "", "interrupts-extended": "#interrupt-cells",
	"iommus": "#iommu-cells", "mboxes": "#mbox-cells", "mmc-pwrseq": "", "msi-parent": "#msi-cells",
	"phys": "#phy-cells", "power-domains": "#power-domain-cells", "resets": "#reset-cells",
}

// references returns the nodes that a property refers to by their handles.
func (b *board) references(n *treeNode, property string) []*treeNode {
	argument, known := argumentCells[property]
	switch {
	case known, strings.HasPrefix(property, "pinctrl-") && property != "pinctrl-names",
		strings.HasSuffix(property, "-supply"):
	case strings.HasSuffix(property, "-gpios"), strings.HasSuffix(property, "-gpio"):
		argument = "#gpio-cells"
	default:
		return nil
	}
	var all []*treeNode
	values := n.cells(property)
	for i := 0; i < len(values); i++ {
		supplier := b.handles[values[i]]
		if supplier == nil {
			continue
		}
		all = append(all, supplier)
		if count := supplier.cells(argument); argument != "" && len(count) == 1 {
			i += int(count[0])
		}
	}
	return all
}
