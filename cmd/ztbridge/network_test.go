package main

import (
	"bytes"
	"context"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ztbridge/bridge/zerotier/controllertest"
)

const setNetwork = "a1b2c3d4e5000001"

// netBox is a box with a zerotier-one, a configuration, and one controller of a kind.
type netBox struct {
	t      *testing.T
	api    controllertest.API
	ctx    context.Context
	dir    string
	server *controllertest.Server // the controller
	local  *controllertest.Server // the box's own service; the controller itself for OnBox
}

func newNetBox(t *testing.T, api controllertest.API, configuration string) *netBox {
	b := &netBox{t: t, ctx: t.Context(), api: api, dir: t.TempDir(),
		server: controllertest.New(t, api)}
	b.local = b.server
	if api != controllertest.OnBox {
		b.local = controllertest.New(t, controllertest.OnBox)
		b.local.NoController = true
	}
	at, err := url.Parse(b.local.URL)
	if err != nil {
		t.Fatal(err)
	}
	b.write("zt/zerotier-one.port", at.Port(), 0o600)
	b.write("zt/authtoken.secret", controllertest.Token, 0o600)
	b.write("token", controllertest.Token+"\n", 0o600)
	b.write("ztbridge.yaml", "# mine\nzerotier:\n  home: zt\n"+configuration, 0o644)
	return b
}

func (b *netBox) write(name, text string, mode os.FileMode) {
	b.t.Helper()
	path := filepath.Join(b.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		b.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), mode); err != nil {
		b.t.Fatal(err)
	}
}

func (b *netBox) read(name string) string {
	b.t.Helper()
	data, err := os.ReadFile(filepath.Join(b.dir, name))
	if err != nil {
		b.t.Fatal(err)
	}
	return string(data)
}

// run runs a command line of `ztbridge network`, with the token in a file where one is needed.
func (b *netBox) run(args ...string) (code int, stdout, stderr string) {
	b.t.Helper()
	args = append([]string{"network"}, args...)
	if b.api != controllertest.OnBox {
		args = append(args, "--token-file", filepath.Join(b.dir, "token"))
	}
	return b.plain(args...)
}

func (b *netBox) plain(args ...string) (code int, stdout, stderr string) {
	b.t.Helper()
	var out, err bytes.Buffer
	p := &program{out: &out, err: &err, env: func(string) string { return "" },
		centralV1: b.server.URL, centralV2: b.server.URL}
	code = p.execute(b.ctx, append(args, "--config", filepath.Join(b.dir, "ztbridge.yaml"),
		"--state-dir", filepath.Join(b.dir, "state"), "--runtime-dir", filepath.Join(b.dir, "run")))
	for _, text := range []string{out.String(), err.String()} {
		if strings.Contains(text, controllertest.Token) {
			b.t.Errorf("%v shows the token:\n%s", args, text)
		}
	}
	return code, out.String(), err.String()
}

func (b *netBox) must(args ...string) (stdout, stderr string) {
	b.t.Helper()
	code, stdout, stderr := b.run(args...)
	if code != exitOK {
		b.t.Fatalf("%v: exit code %d\n%s%s", args, code, stdout, stderr)
	}
	return stdout, stderr
}

// usual gives the controller a network that a person has set up with routes of their own, and two
// members, one of which calls itself as the other does not.
func (b *netBox) usual() *netBox {
	routes := `[{"target":"10.147.17.0/24","via":null},{"target":"192.168.7.0/24","via":"10.147.17.7"}]`
	pools := `[{"ipRangeStart":"10.147.17.1","ipRangeEnd":"10.147.17.254"}]`
	config := `{"routes":` + routes + `,"ipAssignmentPools":` + pools + `,"v4AssignMode":{"zt":true}}`
	if b.api == controllertest.V2 {
		config = strings.NewReplacer("ipAssignmentPools", "v4IpAssignmentPools", "v4AssignMode",
			"v4AssignmentMode").Replace(config)
	}
	b.server.AddNetwork(b.id(), "home", config)
	b.server.AddMember(b.id(), "0000000001", "laptop", true, "10.147.17.1")
	b.server.AddMember(b.id(), "0000000002", "phone", false)
	return b
}

// id is that of the usual network.
func (b *netBox) id() string {
	if b.api == controllertest.OnBox {
		return controllertest.Node + "000001"
	}
	return setNetwork
}

func usualBox(t *testing.T, api controllertest.API) *netBox {
	id := setNetwork
	if api == controllertest.OnBox {
		id = controllertest.Node + "000001"
	}
	return newNetBox(t, api, "  networks: ["+id+"] # home\n").usual()
}

func everyAPI(t *testing.T, run func(*testing.T, controllertest.API)) {
	for _, api := range []controllertest.API{controllertest.V1, controllertest.V2,
		controllertest.OnBox} {
		t.Run(string(api), func(t *testing.T) { run(t, api) })
	}
}

// A plan is printed and changes nothing; --yes carries it out; a second run changes nothing; what a
// person set is still there; and teardown gives everything back.
func TestNetworkSetup(t *testing.T) {
	everyAPI(t, func(t *testing.T, api controllertest.API) {
		b := usualBox(t, api)
		before := b.server.State()
		plan, _ := b.must("setup")
		for _, line := range []string{
			"+ let this box into the network",
			"+ address 10.147.17.2 for this box",
			"+ route 0.0.0.0/0 via 10.147.17.2",
			"+ route ::/0 via fd",
			"+ IPv6 addresses for members (RFC 4193)",
			"  route 192.168.7.0/24 via 10.147.17.7 stays",
		} {
			if !strings.Contains(plan, "\n"+line) {
				t.Errorf("the plan lacks %q:\n%s", line, plan)
			}
		}
		if b.server.State() != before {
			t.Fatalf("printing the plan changed something:\n%s", b.server.State())
		}
		if code, _, _ := b.run("status"); code != exitState {
			t.Errorf("status of a network that lacks something: exit code %d", code)
		}
		b.must("setup", "--yes")
		after := b.server.State()
		for _, want := range []string{`map[target:192.168.7.0/24 via:10.147.17.7]`,
			`map[target:0.0.0.0/0 via:10.147.17.2]`, `rfc4193:true`,
			"member 375530c131 {Name: Authorized:true Addrs:[10.147.17.2]}",
			"member 0000000001 {Name:laptop Authorized:true Addrs:[10.147.17.1]}"} {
			if !strings.Contains(after, want) {
				t.Errorf("after setup %q is missing:\n%s", want, after)
			}
		}
		n, _ := b.server.Requests()
		b.must("setup", "--yes")
		b.must("status")
		if _, paths := b.server.Requests(); strings.Contains(strings.Join(paths[n:], "\n"),
			"POST") || b.server.State() != after {
			t.Errorf("a second run changed something: %v", paths[n:])
		}
		b.must("teardown")
		if b.server.State() != after {
			t.Error("printing the plan of teardown changed something")
		}
		b.must("teardown", "--yes")
		compareStates(t, api, before, b.server.State())
		b.must("teardown", "--yes")
	})
}

// compareStates compares what was before setup with what teardown left. Central v2 has no request
// to remove the box from the members.
func compareStates(t *testing.T, api controllertest.API, before, after string) {
	t.Helper()
	if api == controllertest.V2 {
		after = strings.Replace(after,
			"  member 375530c131 {Name: Authorized:false Addrs:[]}\n", "", 1)
	}
	if before != after {
		t.Errorf("teardown left something.\nbefore:\n%s\nafter:\n%s", before, after)
	}
}

// From nothing: a network is made, and the configuration names it.
func TestNetworkSetupFromNothing(t *testing.T) {
	everyAPI(t, func(t *testing.T, api controllertest.API) {
		b := newNetBox(t, api, "  networks: [your-16-digit-network-id] # home\n")
		b.must("setup", "--yes")
		id := "a1b2c3d4e5000001"
		if api == controllertest.OnBox {
			id = controllertest.Node + "000001"
		}
		if text := b.read("ztbridge.yaml"); text != "# mine\nzerotier:\n  home: zt\n  networks: ["+
			id+"] # home\n" {
			t.Errorf("the configuration is:\n%s", text)
		}
		b.must("status")
		b.must("authorize", "0000000009")
		members, _ := b.must("members")
		if !strings.Contains(members, "0000000009") {
			t.Errorf("members:\n%s", members)
		}
		stdout, stderr := b.must("teardown", "--yes")
		if !strings.Contains(stderr, "other authorised members (1)") ||
			strings.Contains(stdout, "- network") {
			t.Errorf("teardown with another member:\n%s%s", stdout, stderr)
		}
	})
}

// A run that is interrupted at any request, before or after the controller carried it out, is
// finished by the next; and then teardown gives back what was before the first.
func TestNetworkSetupInterrupted(t *testing.T) {
	everyAPI(t, func(t *testing.T, api controllertest.API) {
		for name, box := range map[string]func() *netBox{
			"usual": func() *netBox { return usualBox(t, api) },
			"new":   func() *netBox { return newNetBox(t, api, "  networks: []\n") },
		} {
			interrupted(t, api, name, box)
		}
	})
}

func interrupted(t *testing.T, api controllertest.API, name string, box func() *netBox) {
	t.Helper()
	arguments := func(b *netBox) []string {
		if name == "new" {
			b.write("ztbridge.yaml", "zerotier: {home: zt, networks: [your-16-digit-network-id]}\n",
				0o644)
		}
		return []string{"setup", "--yes"}
	}
	clean := box()
	args := arguments(clean)
	before := clean.server.State()
	clean.must(args...)
	want := clean.server.State()
	total, _ := clean.server.Requests()
	if total < 5 {
		t.Fatalf("only %d requests", total)
	}
	for _, fault := range []controllertest.Fault{controllertest.DropBefore,
		controllertest.DropAfter} {
		for k := 1; k <= total; k++ {
			b := box()
			args := arguments(b)
			var kill context.CancelFunc
			b.ctx, kill = context.WithCancel(t.Context())
			b.server.At = func(n int, _ *http.Request) controllertest.Fault {
				if n == k {
					kill()
					return fault
				}
				return controllertest.None
			}
			code, stdout, _ := b.run(args...)
			if code == exitOK {
				t.Errorf("%s, fault %d at request %d: no error\n%s", name, fault, k, stdout)
			}
			b.server.At, b.ctx = nil, t.Context()
			b.must(args...)
			if got := b.server.State(); got != want {
				t.Errorf("%s, fault %d at request %d: the next run leads to\n%s\nwant\n%s", name,
					fault, k, got, want)
			}
			b.must("teardown", "--yes")
			compareStates(t, api, before, b.server.State())
		}
	}
}

func TestNetworkErrors(t *testing.T) {
	everyAPI(t, func(t *testing.T, api controllertest.API) {
		for _, c := range []struct {
			name   string
			status int
			want   string
		}{
			{"unauthorized", 401, "hint: "}, {"forbidden", 403, "does not allow this"},
			{"not found", 404, "not found"}, {"server", 500, "HTTP 500"},
		} {
			b := usualBox(t, api)
			if api == controllertest.OnBox {
				continue // the local API has none of these but by mistake
			}
			before := b.server.State()
			b.server.Status = c.status
			code, stdout, stderr := b.run("setup", "--yes", "--controller", "central-"+string(api))
			if code != exitError || !strings.Contains(stderr, c.want) || stdout != "" {
				t.Errorf("%s: exit code %d\n%s%s", c.name, code, stdout, stderr)
			}
			if b.server.State() != before {
				t.Errorf("%s: something was changed", c.name)
			}
			if _, err := os.Stat(filepath.Join(b.dir, "state", recordFile)); err == nil {
				t.Errorf("%s: there is a record of nothing", c.name)
			}
		}
	})
}

const recordFile = "zerotier-setup.json"

// 429 is waited out; Retry-After says for how long.
func TestNetworkRateLimit(t *testing.T) {
	for _, api := range []controllertest.API{controllertest.V1, controllertest.V2} {
		b := usualBox(t, api)
		limited := 0
		b.server.Header = http.Header{"Retry-After": {"0"}}
		b.server.At = func(n int, _ *http.Request) controllertest.Fault {
			b.server.Status, b.server.Free = 0, 0
			if n%3 == 2 {
				limited++
				b.server.Status = http.StatusTooManyRequests
			}
			return controllertest.None
		}
		_, stderr := b.must("setup", "--yes")
		if limited < 3 || !strings.Contains(stderr, "asks to wait") {
			t.Errorf("%s: limited %d times, and it said: %s", api, limited, stderr)
		}
	}
}

// A controller that answers 200 and keeps nothing is found out.
func TestNetworkReadBack(t *testing.T) {
	everyAPI(t, func(t *testing.T, api controllertest.API) {
		b := usualBox(t, api)
		b.server.Forgetful = true
		code, _, stderr := b.run("setup", "--yes")
		if code != exitError || !strings.Contains(stderr, "did not keep the change") ||
			!strings.Contains(stderr, "0.0.0.0/0") {
			t.Errorf("exit code %d: %s", code, stderr)
		}
	})
}

func TestNetworkDefaultRouteOfAnother(t *testing.T) {
	b := newNetBox(t, controllertest.V1, "  networks: ["+setNetwork+"]\n")
	b.server.AddNetwork(setNetwork, "home", `{"v4AssignMode":{"zt":true},"routes":[
		{"target":"10.147.17.0/24","via":null},{"target":"0.0.0.0/0","via":"10.147.17.9"}]}`)
	b.server.AddMember(setNetwork, "0000000001", "other gateway", true, "10.147.17.9")
	code, _, stderr := b.run("setup", "--yes")
	if code != exitError || !strings.Contains(stderr, `0000000001 "other gateway"`) ||
		!strings.Contains(stderr, "--take-over") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	plan, _ := b.must("setup", "--take-over")
	if !strings.Contains(plan, "- route 0.0.0.0/0 via 10.147.17.9\n+ route 0.0.0.0/0 via 10.147.17.1") {
		t.Errorf("plan:\n%s", plan)
	}
}

// A default route by an address of nobody gives the box that address: members need not change.
func TestNetworkDefaultRouteOfNobody(t *testing.T) {
	b := newNetBox(t, controllertest.V1, "  networks: ["+setNetwork+"]\n")
	b.server.AddNetwork(setNetwork, "home", `{"v4AssignMode":{"zt":true},"routes":[
		{"target":"10.147.17.0/24","via":null},{"target":"0.0.0.0/0","via":"10.147.17.9"}]}`)
	plan, _ := b.must("setup")
	if !strings.Contains(plan, "+ address 10.147.17.9 for this box") ||
		!strings.Contains(plan, "  route 0.0.0.0/0 via 10.147.17.9 stays") {
		t.Errorf("plan:\n%s", plan)
	}
}

func TestNetworkMembers(t *testing.T) {
	everyAPI(t, func(t *testing.T, api controllertest.API) {
		b := usualBox(t, api)
		b.must("authorize", "phone")
		table, _ := b.must("members")
		lines := strings.Split(table, "\n")
		if !strings.HasPrefix(lines[2], "0000000002") || !strings.Contains(lines[2], "yes") {
			t.Errorf("members:\n%s", table)
		}
		b.must("deauthorize", "0000000002")
		if table, _ = b.must("members"); strings.Count(table, "yes") != 1 {
			t.Errorf("members:\n%s", table)
		}
		code, _, stderr := b.run("authorize", "tablet")
		if code != exitError || !strings.Contains(stderr, `no member "tablet"`) {
			t.Errorf("exit code %d: %s", code, stderr)
		}
	})
}

// Without a token there is the same plan as steps; without a controller on the box that is told.
func TestNetworkWithoutToken(t *testing.T) {
	b := usualBox(t, controllertest.V1)
	code, steps, stderr := b.plain("network", "setup")
	if code != exitOK || !strings.Contains(steps, "375530c131") ||
		!strings.Contains(steps, "Managed Routes: add 0.0.0.0/0 via ") ||
		!strings.Contains(stderr, "--token-file") {
		t.Errorf("exit code %d\n%s%s", code, steps, stderr)
	}
	code, _, stderr = b.plain("network", "setup", "--controller", "local")
	if code != exitError || !strings.Contains(stderr, "has no controller") ||
		!strings.Contains(stderr, "1.16") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
	if code, _, stderr = b.plain("network", "members"); code != exitError ||
		!strings.Contains(stderr, "needs an API token") {
		t.Errorf("exit code %d: %s", code, stderr)
	}
}

func TestNetworkToken(t *testing.T) {
	b := usualBox(t, controllertest.V2)
	b.must("setup")
	info, err := os.Stat(filepath.Join(b.dir, "state", "zerotier-token"))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("the kept token: %v %v", info, err)
	}
	if code, _, stderr := b.plain("network", "setup", "--yes"); code != exitOK {
		t.Errorf("with the kept token: %s", stderr)
	}
	for name, c := range map[string]struct {
		text string
		mode os.FileMode
	}{"open": {controllertest.Token, 0o644}, "empty": {"\n", 0o600}, "binary": {"a\x00b", 0o600}} {
		b.write(name, c.text, c.mode)
		code, _, stderr := b.plain("network", "setup", "--token-file",
			filepath.Join(b.dir, name))
		if code != exitError || !strings.Contains(stderr, "reading the token") {
			t.Errorf("%s: exit code %d: %s", name, code, stderr)
		}
	}
	for _, path := range func() []string { _, paths := b.server.Requests(); return paths }() {
		if strings.Contains(path, controllertest.Token) {
			t.Errorf("the token is in an address: %s", path)
		}
	}
}
