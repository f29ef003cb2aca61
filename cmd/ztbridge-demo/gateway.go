package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"ztbridge/bridge/api"
	"ztbridge/policyroute/netlab"
)

// gateway is ztbridge, installed on a host of the lab.
type gateway struct {
	program string
	host    *netlab.Namespace
	dir     string // holds its configuration, state and socket
	daemon  *netlab.Process
}

// newGateway writes the configuration and the provider's profile. Nothing runs yet.
func newGateway(program string, host *netlab.Namespace, dir, config,
	profile string) (*gateway, error) {
	g := &gateway{program: program, host: host, dir: dir}
	// OpenVPN runs as a user of its own and must reach its socket below.
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("installing ztbridge: %w", err)
	}
	for name, content := range map[string]string{"ztbridge.yaml": config,
		"provider.ovpn": profile} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			return nil, fmt.Errorf("installing ztbridge: %w", err)
		}
	}
	return g, nil
}

func (g *gateway) args(command ...string) []string {
	return append(command, "--config", filepath.Join(g.dir, "ztbridge.yaml"),
		"--state-dir", filepath.Join(g.dir, "state"), "--runtime-dir", filepath.Join(g.dir, "run"))
}

// start starts the daemon.
func (g *gateway) start() (err error) {
	g.daemon, err = g.host.Start(netlab.Command(g.program, g.args("run")...))
	return err
}

// down runs `ztbridge down`.
func (g *gateway) down(ctx context.Context) error {
	_, err := g.host.Run(ctx, g.program, g.args("down")...)
	return err
}

// status asks the daemon. While something is not as configured, the command fails and answers all
// the same.
func (g *gateway) status(ctx context.Context) (api.Status, error) {
	var st api.Status
	out, err := g.host.Run(ctx, g.program, g.args("status", "--json")...)
	if out == "" {
		return st, err
	}
	if err := json.Unmarshal([]byte(out), &st); err != nil {
		return st, fmt.Errorf("reading the status: %w", err)
	}
	return st, nil
}

// tunnel returns the name of the provider's TUN device.
func (g *gateway) tunnel(ctx context.Context) (string, error) {
	st, err := g.status(ctx)
	if err != nil {
		return "", err
	}
	for _, e := range st.Egresses {
		if e.Name == "provider" && e.Interface != "" {
			return e.Interface, nil
		}
	}
	return "", fmt.Errorf("the daemon knows no tunnel: %s", st.Summary)
}
