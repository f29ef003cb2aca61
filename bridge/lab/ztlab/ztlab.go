package ztlab

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// port is the one port of every node.
const port = 9993

// Planet is an isolated ZeroTier: nodes know no other roots than its own.
type Planet struct {
	Root  *Node // root and controller, online
	dir   string
	world []byte // content of the file "planet" in each node's home
}

// New adds a site with the root to the topology and starts it. Processes end with the lab.
func New(ctx context.Context, top *lab.Topology) (*Planet, error) {
	site, err := top.AddSite("ztroot")
	if err != nil {
		return nil, err
	}
	p := &Planet{dir: filepath.Join(top.Dir, "zerotier")}
	home := filepath.Join(p.dir, "root")
	if err := newIdentity(ctx, home); err != nil {
		return nil, err
	}
	if p.world, err = newWorld(ctx, home, netip.AddrPortFrom(site.Addr4, port)); err != nil {
		return nil, err
	}
	if p.Root, err = p.newNode(site.NS, home); err != nil {
		return nil, err
	}
	if program := os.Getenv(controllerProgram); program != "" {
		p.Root.program = program
	}
	if err := p.Root.Start(ctx); err != nil {
		return nil, err
	}
	if !p.Root.HasController(ctx) {
		return nil, ErrNoController
	}
	return p, nil
}

// controllerProgram is the variable that names a zerotier-one with a controller for the root. Tests
// of a build without one need it.
const controllerProgram = "LAB_ZEROTIER_CONTROLLER"

// ErrNoController is returned where zerotier-one has no controller, as the default builds since
// 1.16.0: networks cannot be made.
var ErrNoController = errors.New("this zerotier-one has no controller; " + controllerProgram +
	" may name one that has, such as 1.14's")

// HasController reports whether the node's service has a controller.
func (n *Node) HasController(ctx context.Context) bool {
	var answer struct{ Controller bool }
	return n.Get(ctx, "/controller", &answer) == nil && answer.Controller
}

// Node prepares a node in a host with an uplink in a /24 of its own. A root verifies one new
// identity for each /24 in two seconds. The node is not started.
func (p *Planet) Node(ctx context.Context, ns *netlab.Namespace) (*Node, error) {
	home := filepath.Join(p.dir, ns.Label)
	if err := newIdentity(ctx, home); err != nil {
		return nil, err
	}
	return p.newNode(ns, home)
}

// newIdentity makes a home with a new identity in it.
func newIdentity(ctx context.Context, home string) error {
	if err := os.MkdirAll(home, 0o700); err != nil {
		return fmt.Errorf("making a home: %w", err)
	}
	_, err := idtool(ctx, home, "generate", "identity.secret", "identity.public")
	return err
}

// newWorld returns a planet whose only root is the identity in home, reached at the given endpoint.
func newWorld(ctx context.Context, home string, endpoint netip.AddrPort) ([]byte, error) {
	out, err := idtool(ctx, home, "initmoon", "identity.public")
	if err != nil {
		return nil, err
	}
	var world map[string]any
	if err := json.Unmarshal(out, &world); err != nil {
		return nil, fmt.Errorf("reading the world: %w", err)
	}
	roots, ok := world["roots"].([]any)
	if !ok || len(roots) != 1 {
		return nil, fmt.Errorf("reading the world: roots are %v", world["roots"])
	}
	root, ok := roots[0].(map[string]any)
	if !ok {
		return nil, fmt.Errorf("reading the world: a root is %v", roots[0])
	}
	root["stableEndpoints"] = []string{fmt.Sprintf("%s/%d", endpoint.Addr(), endpoint.Port())}
	world["worldType"] = "planet"
	text, err := json.Marshal(world)
	if err != nil {
		return nil, fmt.Errorf("writing the world: %w", err)
	}
	if err := os.WriteFile(filepath.Join(home, "world.json"), text, 0o600); err != nil {
		return nil, fmt.Errorf("writing the world: %w", err)
	}
	if _, err := idtool(ctx, home, "genmoon", "world.json"); err != nil {
		return nil, err
	}
	// genmoon names the file by the world's id, whatever its type.
	made, err := filepath.Glob(filepath.Join(home, "*.moon"))
	if err != nil || len(made) != 1 {
		return nil, fmt.Errorf("signing the world: found %v", made)
	}
	return os.ReadFile(made[0])
}

func idtool(ctx context.Context, dir string, args ...string) ([]byte, error) {
	cmd := exec.CommandContext(ctx, "zerotier-idtool", args...)
	cmd.Dir = dir
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("running zerotier-idtool %s: %w: %s", strings.Join(args, " "), err,
			out)
	}
	return out, nil
}
