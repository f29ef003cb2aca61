package process

import (
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"log/slog"
	"os/exec"
	"path/filepath"

	"golang.org/x/sys/unix"

	"ztbridge/bridge/openvpn/management"
)

// ErrNotInstalled reports that there is no openvpn program.
var ErrNotInstalled = errors.New("openvpn is not installed")

// InstallRemedy tells a person what to do about ErrNotInstalled.
const InstallRemedy = "install openvpn 2.6 or later (Debian: apt install openvpn)"

// Find returns the path of openvpn. That is program if it is not empty, else the one on the PATH,
// else the one in Debian's /usr/sbin. The error is ErrNotInstalled.
func Find(program string) (string, error) {
	names := []string{"openvpn", "/usr/sbin/openvpn", "/usr/local/sbin/openvpn"}
	if program != "" {
		names = []string{program}
	}
	for _, name := range names {
		if path, err := exec.LookPath(name); err == nil {
			return filepath.Abs(path)
		}
	}
	return "", fmt.Errorf("%w (looked for %s)", ErrNotInstalled, names[0])
}

// Launcher starts openvpn as a user without privileges, with a management socket and a runtime
// directory of its own. Tunnels and the endpoint both use it.
type Launcher struct {
	// Dir is the process's runtime directory. Its parents must be searchable by UID.
	Dir string
	// Program is the openvpn binary; empty means what Find finds.
	Program string
	// UID and GID are whom it runs as.
	UID, GID int
	// Caps are its only capabilities; usually none.
	Caps []uintptr
	Log  *slog.Logger
}

// Command is what one start of openvpn differs in.
type Command struct {
	Args   []string // beside those for the management socket and the device node
	Config string   // given on standard input
	Device string   // the TUN device's name
	Node   string   // of the TUN device
	Output func(line string)
}

// DeviceGroup returns the group that a TUN device is given to, beside its user: all openvpn
// processes share that one, and none may open another's device while its owner is away. The number
// lies among those that systemd gives to services for a while (61184 to 65519), so that a container
// has it. It is in no file: who else has it is not the device's user.
func DeviceGroup(device string) int {
	h := fnv.New32a()
	_, _ = io.WriteString(h, device)
	return 61184 + int(h.Sum32()%(65519-61184+1))
}

// Path returns the path of a file in the runtime directory.
func (l *Launcher) Path(name string) string { return filepath.Join(l.Dir, name) }

// Prepare makes the directories and ends a process that an earlier run of the daemon left behind.
// It is idempotent.
func (l *Launcher) Prepare() error {
	if err := management.PrivateDir(l.Dir, l.GID); err != nil {
		return fmt.Errorf("making the runtime directory: %w", err)
	}
	if err := management.OwnDir(l.tmp(), l.UID, l.GID); err != nil {
		return fmt.Errorf("making openvpn's temporary directory: %w", err)
	}
	if err := searchable(filepath.Dir(l.Dir), l.UID); err != nil {
		return err
	}
	ended, err := EndStale(l.Path("pid"), l.socket())
	if err != nil {
		return err
	}
	if ended {
		l.Log.Warn("ended the openvpn that an earlier run left behind")
	}
	return nil
}

// Start starts openvpn, which connects to the returned listener. Prepare must have succeeded. The
// caller closes the listener after the process has ended.
func (l *Launcher) Start(c Command) (*Process, *management.Listener, error) {
	program, err := Find(l.Program)
	if err != nil {
		return nil, nil, err
	}
	socket, err := management.Listen(l.socket(), l.UID, l.GID, l.Log)
	if err != nil {
		return nil, nil, err
	}
	p, err := Start(Spec{
		Path: program,
		Args: append([]string{
			"--config", "stdin", "--dev-node", c.Node,
			// OpenVPN insists on a directory that it may write to, and by default on /tmp.
			"--tmp-dir", l.tmp(),
			"--management", l.socket(), "unix", "--management-client", "--management-hold",
		}, c.Args...),
		Stdin: c.Config, UID: l.UID, GID: l.GID, Caps: l.Caps,
		Groups:  []uint32{uint32(DeviceGroup(c.Device))},
		PIDFile: l.Path("pid"), Output: c.Output,
		Sandbox: &Sandbox{Read: []string{filepath.Dir(program)},
			Write: []string{l.Dir, filepath.Dir(c.Node)}},
	})
	if err != nil {
		return nil, nil, errors.Join(err, socket.Close())
	}
	return p, socket, nil
}

func (l *Launcher) socket() string { return l.Path("management") }
func (l *Launcher) tmp() string    { return l.Path("tmp") }

// searchable checks that a user without privileges can pass through dir and all above it.
func searchable(dir string, uid int) error {
	if uid == 0 {
		return nil
	}
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	for ; dir != "/"; dir = filepath.Dir(dir) {
		var st unix.Stat_t
		if err := unix.Stat(dir, &st); err != nil {
			return fmt.Errorf("looking at %s: %w", dir, err)
		}
		if st.Mode&0o001 == 0 && !(int(st.Uid) == uid && st.Mode&0o100 != 0) {
			return fmt.Errorf(
				"the directory %s cannot be passed by uid %d, whom openvpn runs as (chmod o+x)",
				dir, uid)
		}
	}
	return nil
}
