package ztlab

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"time"

	"ztbridge/policyroute/netlab"
)

const (
	authToken   = "ztlab-token"
	pollPause   = 50 * time.Millisecond
	readyWithin = 20 * time.Second // for one answer of a service that has started
)

// Node is a ZeroTier service in a host.
type Node struct {
	NS      *netlab.Namespace
	Home    string // its home directory, with authtoken.secret and zerotier-one.port
	Address string // ten hexadecimal digits

	program string // zerotier-one
	proc    *netlab.Process
}

// newNode fills a home that holds an identity.
func (p *Planet) newNode(ns *netlab.Namespace, home string) (*Node, error) {
	identity, err := os.ReadFile(filepath.Join(home, "identity.public"))
	if err != nil {
		return nil, fmt.Errorf("reading an identity: %w", err)
	}
	address, _, _ := strings.Cut(string(identity), ":")
	settings, err := json.Marshal(map[string]any{"settings": map[string]any{
		"primaryPort": port, "allowSecondaryPort": false, "portMappingEnabled": false,
		"allowTcpFallbackRelay": false, "softwareUpdate": "disable",
		"interfacePrefixBlacklist": []string{"tun"},
	}})
	if err != nil {
		return nil, fmt.Errorf("encoding local.conf: %w", err)
	}
	files := map[string][]byte{"planet": p.world, "local.conf": settings,
		"authtoken.secret": []byte(authToken)}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(home, name), content, 0o600); err != nil {
			return nil, fmt.Errorf("writing %s: %w", name, err)
		}
	}
	return &Node{NS: ns, Home: home, Address: address, program: "zerotier-one"}, nil
}

// Start runs the service and returns when its API answers.
func (n *Node) Start(ctx context.Context) error {
	// The pid file of a service that was killed would be mistaken for one that runs.
	if err := os.RemoveAll(filepath.Join(n.Home, "zerotier-one.pid")); err != nil {
		return fmt.Errorf("removing a pid file: %w", err)
	}
	var err error
	if n.proc, err = n.NS.Start(netlab.Command(n.program, n.Home)); err != nil {
		return err
	}
	return n.await(ctx, "the API", func(ctx context.Context) (bool, error) {
		var st struct{ Address string }
		err := n.Get(ctx, "/status", &st)
		return err == nil && st.Address == n.Address, err
	})
}

// Stop ends the service as its unit would.
func (n *Node) Stop() { n.proc.Stop() }

// Kill kills the service.
func (n *Node) Kill() { n.proc.Kill() }

// Restart ends the service and starts it.
func (n *Node) Restart(ctx context.Context) error {
	n.Stop()
	return n.Start(ctx)
}

// Membership is a node's part in a network, as its service tells it.
type Membership struct {
	ID     string         `json:"id"`
	Status string         `json:"status"`
	Iface  string         `json:"portDeviceName"`
	Addrs  []netip.Prefix `json:"assignedAddresses"`
}

// Join makes the node ask for membership; allowDefault lets it take its default route from the
// network. It does not wait for the controller.
func (n *Node) Join(ctx context.Context, network string, allowDefault bool) error {
	settings := map[string]bool{"allowManaged": true, "allowDefault": allowDefault}
	return n.Post(ctx, "/network/"+network, settings, nil)
}

// Leave makes the node leave a network.
func (n *Node) Leave(ctx context.Context, network string) error {
	return n.do(ctx, http.MethodDelete, "/network/"+network, nil, nil)
}

// AwaitMembership waits until the node is a member with an interface and an address.
func (n *Node) AwaitMembership(ctx context.Context, network string) (Membership, error) {
	var m Membership
	err := n.await(ctx, "membership of "+network, func(ctx context.Context) (bool, error) {
		m = Membership{}
		if err := n.Get(ctx, "/network/"+network, &m); err != nil {
			return false, err
		}
		if m.Status != "OK" || m.Iface == "" || len(m.Addrs) == 0 {
			return false, fmt.Errorf("status %q, interface %q, addresses %v", m.Status, m.Iface,
				m.Addrs)
		}
		return true, nil
	})
	return m, err
}

// AwaitOnline waits until the node has reached the root.
func (n *Node) AwaitOnline(ctx context.Context) error {
	return n.await(ctx, "the root", func(ctx context.Context) (bool, error) {
		var st struct{ Online bool }
		err := n.Get(ctx, "/status", &st)
		return st.Online, err
	})
}

// await polls until ready says so, the service ends or ctx does.
func (n *Node) await(ctx context.Context, what string,
	ready func(context.Context) (bool, error)) error {
	for {
		ok, err := ready(ctx)
		if ok {
			return nil
		}
		select {
		case <-time.After(pollPause):
		case <-n.proc.Done():
			return fmt.Errorf("waiting for %s of node %s in %s: the service ended: %s", what,
				n.Address, n.NS.Label, n.proc.Log())
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s of node %s in %s: %w (%w)", what, n.Address,
				n.NS.Label, ctx.Err(), err)
		}
	}
}

// Get asks the service's API and decodes the answer.
func (n *Node) Get(ctx context.Context, path string, answer any) error {
	return n.do(ctx, http.MethodGet, path, nil, answer)
}

// Post tells the service's API something; answer may be nil.
func (n *Node) Post(ctx context.Context, path string, body, answer any) error {
	return n.do(ctx, http.MethodPost, path, body, answer)
}

func (n *Node) do(ctx context.Context, method, path string, body, answer any) error {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	var text []byte
	if body != nil {
		var err error
		if text, err = json.Marshal(body); err != nil {
			return fmt.Errorf("encoding the body of %s %s: %w", method, path, err)
		}
	}
	url := fmt.Sprintf("http://127.0.0.1:%d%s", port, path)
	req, err := http.NewRequestWithContext(ctx, method, url, bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("preparing %s %s: %w", method, path, err)
	}
	req.Header.Set("X-ZT1-Auth", authToken)
	// One connection for each request: an idle one would hold up the service's end by five seconds.
	transport := &http.Transport{DisableKeepAlives: true, DialContext: n.NS.Dial}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return fmt.Errorf("asking node %s: %w", n.Address, err)
	}
	out, err := io.ReadAll(resp.Body)
	err = errors.Join(err, resp.Body.Close())
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(resp.Status)
	}
	if err == nil && answer != nil {
		err = json.Unmarshal(out, answer)
	}
	if err != nil {
		return fmt.Errorf("asking node %s: %s %s: %w: %s", n.Address, method, path, err, out)
	}
	return nil
}
