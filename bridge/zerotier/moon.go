package zerotier

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
)

// IDTool runs zerotier-idtool with arguments in a directory and returns what it printed. The tool
// makes moons: the format and its signature are the vendor's business.
type IDTool func(ctx context.Context, dir string, args ...string) (stdout []byte, err error)

// runIDTool is the IDTool that is on the PATH.
func runIDTool(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "zerotier-idtool", args...)
	cmd.Dir = dir
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("running zerotier-idtool %s: %w: %s", args[0], err,
			bytes.TrimSpace(stderr.Bytes()))
	}
	return out, nil
}

// recipeName is the file in the service's home directory from which the moon is made. It holds the
// key that later versions of the moon must be signed with: without it, whoever orbits the moon
// would never take new endpoints.
const recipeName = "ztbridge-moon.json"

// moonMaker makes the moon that this node is and keeps its file.
type moonMaker struct {
	home string
	tool IDTool
}

// made reports whether the moon's file of this node is there for these endpoints.
func (m moonMaker) made(self Address, endpoints []netip.AddrPort) bool {
	recipe, err := m.recipe()
	if err != nil || recipe["id"] != self.String() ||
		!sameEndpoints(recipeEndpoints(recipe), endpoints) {
		return false
	}
	_, err = os.Stat(m.file(self))
	return err == nil
}

// make makes the moon's file again. The service must not know the moon meanwhile, and is made to
// orbit it afterwards. Interrupted at any step, the next call repairs what was left.
func (m moonMaker) make(ctx context.Context, self Address, endpoints []netip.AddrPort) error {
	dir, err := os.MkdirTemp("", "ztbridge-moon-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	recipe, err := m.recipe()
	if errors.Is(err, fs.ErrNotExist) || err == nil && recipe["id"] != self.String() {
		recipe, err = m.newRecipe(ctx, dir)
	}
	if err != nil {
		return fmt.Errorf("preparing the moon: %w", err)
	}
	if err := setEndpoints(recipe, endpoints); err != nil {
		return err
	}
	text, err := json.MarshalIndent(recipe, "", " ")
	if err != nil {
		return err
	}
	world, err := m.sign(ctx, dir, self, text)
	if err != nil {
		return err
	}
	// In this order: while the recipe is newer than the moon, there is no moon.
	if err := os.Remove(m.file(self)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the old moon: %w", err)
	}
	if err := replaceFile(filepath.Join(m.home, recipeName), text, 0o600); err != nil {
		return fmt.Errorf("writing the moon's recipe: %w", err)
	}
	if err := m.makeDir(); err != nil {
		return fmt.Errorf("making moons.d: %w", err)
	}
	if err := replaceFile(m.file(self), world, 0o600); err != nil {
		return fmt.Errorf("writing the moon: %w", err)
	}
	return nil
}

func (m moonMaker) file(self Address) string {
	return filepath.Join(m.home, "moons.d", fmt.Sprintf("%016x.moon", uint64(self)))
}

func (m moonMaker) recipe() (map[string]any, error) {
	raw, err := os.ReadFile(filepath.Join(m.home, recipeName))
	if err != nil {
		return nil, err
	}
	return parseRecipe(raw)
}

func (m moonMaker) newRecipe(ctx context.Context, dir string) (map[string]any, error) {
	raw, err := m.tool(ctx, dir, "initmoon", filepath.Join(m.home, "identity.public"))
	if err != nil {
		return nil, err
	}
	return parseRecipe(raw)
}

func parseRecipe(raw []byte) (map[string]any, error) {
	var recipe map[string]any
	if err := json.Unmarshal(raw, &recipe); err != nil {
		return nil, fmt.Errorf("reading the moon's recipe: %w", err)
	}
	return recipe, nil
}

// sign turns a recipe into a moon, which the tool leaves in the directory where it runs.
func (m moonMaker) sign(ctx context.Context, dir string, self Address,
	recipe []byte) ([]byte, error) {
	in := filepath.Join(dir, "moon.json")
	if err := os.WriteFile(in, recipe, 0o600); err != nil {
		return nil, err
	}
	if _, err := m.tool(ctx, dir, "genmoon", in); err != nil {
		return nil, err
	}
	world, err := os.ReadFile(filepath.Join(dir, filepath.Base(m.file(self))))
	if err != nil {
		return nil, fmt.Errorf("reading what zerotier-idtool made: %w", err)
	}
	return world, nil
}

// makeDir makes moons.d, which belongs to the user that owns the home directory.
func (m moonMaker) makeDir() error {
	dir := filepath.Join(m.home, "moons.d")
	err := os.Mkdir(dir, 0o700)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	home, err := os.Stat(m.home)
	if err != nil {
		return err
	}
	if owner, ok := home.Sys().(*syscall.Stat_t); ok && os.Geteuid() != int(owner.Uid) {
		return os.Chown(dir, int(owner.Uid), int(owner.Gid))
	}
	return nil
}

// setEndpoints writes the endpoints of the moon's only root into a recipe.
func setEndpoints(recipe map[string]any, endpoints []netip.AddrPort) error {
	roots, _ := recipe["roots"].([]any)
	if len(roots) != 1 {
		return fmt.Errorf("reading the moon's recipe: want one root, it has %d", len(roots))
	}
	root, ok := roots[0].(map[string]any)
	if !ok {
		return errors.New("reading the moon's recipe: its root is no object")
	}
	texts := make([]any, len(endpoints))
	for i, e := range endpoints {
		texts[i] = fmt.Sprintf("%s/%d", e.Addr(), e.Port())
	}
	root["stableEndpoints"] = texts
	return nil
}

func recipeEndpoints(recipe map[string]any) []string {
	var out []string
	roots, _ := recipe["roots"].([]any)
	for _, r := range roots {
		root, _ := r.(map[string]any)
		list, _ := root["stableEndpoints"].([]any)
		for _, e := range list {
			if s, ok := e.(string); ok {
				out = append(out, s)
			}
		}
	}
	return out
}

// sameEndpoints compares endpoints as the service writes them ("198.51.100.10/9993") with others,
// in any order.
func sameEndpoints(texts []string, want []netip.AddrPort) bool {
	have := make([]netip.AddrPort, 0, len(texts))
	for _, s := range texts {
		e, err := parseEndpoint(s)
		if err != nil {
			return false
		}
		have = append(have, e)
	}
	want = slices.Clone(want)
	slices.SortFunc(have, netip.AddrPort.Compare)
	slices.SortFunc(want, netip.AddrPort.Compare)
	return slices.Equal(have, want)
}

func parseEndpoint(s string) (netip.AddrPort, error) {
	host, port, _ := strings.Cut(s, "/")
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.AddrPort{}, err
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return netip.AddrPortFrom(addr, uint16(n)), err
}
