package build

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"ztbridge/bridge/lab"
	"ztbridge/policyroute/netlab"
)

// container is a Debian in a folder, started by its own systemd in the place of the lab's box. It
// is a machine in all but kernel and boot loader, at this machine's own speed.
type container struct {
	t    *testing.T
	dir  string
	init int // process id of its systemd, seen from here

	userData string // of a cloud's machine

	console string        // file of what it writes there
	ended   chan struct{} // closed when nothing of it runs any more
}

// inControlGroup runs a program in a control group of its own in each hierarchy by which systemd
// finds its services.
const inControlGroup = `
for h in /sys/fs/cgroup /sys/fs/cgroup/unified /sys/fs/cgroup/systemd; do
	[ -e $h/cgroup.procs ] || continue
	mkdir -p $h/$NAME
	echo $$ >$h/$NAME/cgroup.procs
done
exec "$@"`

// containerRig is a rig whose box is a container: the Debian of the archive, before it is started.
// The box has the lab's addresses and names, and its commands are run by r.ssh as in a guest.
func containerRig(t *testing.T, archive string, opts lab.Options) (*rig, *container) {
	t.Helper()
	netlab.Require(t, netlab.Root, netlab.OpenVPN)
	need(t, "systemd-nspawn", "nsenter")
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	opts.Providers = []lab.ProviderOptions{{Credentials: &customer}}
	top, err := lab.Standard(ctx, opts)
	must(t, err)
	t.Cleanup(func() { must(t, top.Close()) })
	r := &rig{t: t, lab: top, streams: map[string]*lab.Stream{}}
	r.leaks, err = top.WatchLeaks()
	must(t, err)
	c := newContainer(t, archive)
	r.shell = c.run
	return r, c
}

// newContainer unpacks the archive. It knows the lab's resolver.
func newContainer(t *testing.T, archive string) *container {
	t.Helper()
	c := &container{t: t, dir: filepath.Join(t.TempDir(), "root")}
	must(t, os.Mkdir(c.dir, 0o755))
	tool(t, "tar", "-xf", archive, "-C", c.dir)
	must(t, os.RemoveAll(filepath.Join(c.dir, "etc/resolv.conf")))
	c.put("etc/resolv.conf", "nameserver "+lab.ResolverAddr.String()+"\n", 0o644)
	return c
}

// powerOff ends the container, and returns when nothing of it runs any more.
func (c *container) powerOff() {
	c.t.Helper()
	_, _ = c.run("systemctl poweroff") // which may end the command as well
	select {
	case <-c.ended:
	case <-time.After(time.Minute):
		c.t.Fatalf("the container does not end:\n%s", c.said())
	}
	c.init = 0
}

func (c *container) put(name, content string, mode os.FileMode) {
	c.t.Helper()
	file := filepath.Join(c.dir, name)
	must(c.t, os.MkdirAll(filepath.Dir(file), 0o755))
	must(c.t, os.WriteFile(file, []byte(content), mode))
}

// start starts the container's systemd and waits until its start is over.
func (c *container) start(box *netlab.Namespace) {
	c.t.Helper()
	console, err := os.Create(filepath.Join(c.t.TempDir(), "console"))
	must(c.t, err)
	c.console = console.Name()
	cmd := exec.Command("sh", "-c", inControlGroup, "sh", "systemd-nspawn", "--quiet", "--boot",
		"--register=no", "--keep-unit", "--directory="+c.dir, "--machine=box",
		"--network-namespace-path=/run/netns/"+box.Name, "--capability=all",
		"--bind=/dev/net/tun", "--resolv-conf=off", "--console=read-only")
	cmd.Env = append(os.Environ(), "NAME="+box.Name, "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY=1",
		"SYSTEMD_NSPAWN_API_VFS_WRITABLE=network") // sysctls of the box's network
	cmd.Stdout, cmd.Stderr = console, console
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	must(c.t, cmd.Start())
	c.ended = make(chan struct{})
	go func() { defer close(c.ended); _ = cmd.Wait(); _ = console.Close() }()
	c.t.Cleanup(func() {
		if c.init > 0 {
			_ = syscall.Kill(c.init, syscall.SIGKILL)
		}
		_ = cmd.Process.Kill()
		<-c.ended
		removeControlGroups(box.Name)
	})
	children := fmt.Sprintf("/proc/%d/task/%[1]d/children", cmd.Process.Pid)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(100 * time.Millisecond) {
		text, _ := os.ReadFile(children) // another process at first, which makes systemd's
		if _, err := fmt.Sscan(string(text), &c.init); err == nil {
			state, _ := c.run("systemctl is-system-running --wait")
			if state == "running\n" || state == "degraded\n" {
				return
			}
		}
		if time.Now().After(deadline) {
			c.t.Fatalf("the container does not start:\n%s", c.said())
		}
	}
}

// said is all that the console has shown.
func (c *container) said() string {
	text, err := os.ReadFile(c.console)
	must(c.t, err)
	return string(text)
}

// removeControlGroups takes away what inControlGroup has made, and the container below it.
func removeControlGroups(name string) {
	for _, hierarchy := range []string{"", "unified", "systemd"} {
		top := filepath.Join("/sys/fs/cgroup", hierarchy, name)
		for range 20 { // the kernel takes a moment to bury the last process
			_ = exec.Command("find", top, "-depth", "-type", "d", "-exec", "rmdir", "{}",
				";").Run()
			if _, err := os.Stat(top); err != nil {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}

// run runs a shell command in the container.
func (c *container) run(command string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), bootTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "nsenter", "--target", fmt.Sprint(c.init), "--mount", "--uts",
		"--ipc", "--net", "--pid", "--cgroup", "--", "sh", "-c", command)
	cmd.Env = []string{"PATH=/usr/sbin:/usr/bin:/sbin:/bin", "DEBIAN_FRONTEND=noninteractive",
		"LC_ALL=C"}
	out, err := cmd.Output()
	if err != nil {
		problem := ""
		if exit := new(exec.ExitError); errors.As(err, &exit) {
			problem = string(exit.Stderr)
		}
		err = fmt.Errorf("%s: %w: %s%s", command, err, out, problem)
	}
	return string(out), err
}

// tool runs a program of this machine.
func tool(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %s: %v: %s", name, strings.Join(args, " "), err, out)
	}
}
