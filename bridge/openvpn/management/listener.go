package management

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxSocketPath is the room in sockaddr_un (unix(7)), without the final zero.
const maxSocketPath = 107

// privateMode lets the peer's group search a directory, and nobody else.
const privateMode = 0o710

// Listener waits for openvpn, started with --management PATH unix --management-client, to connect.
// We listen and openvpn connects, so that nobody else can be first to reach it.
type Listener struct {
	socket *net.UnixListener
	uid    int
	log    *slog.Logger
}

// Listen makes the socket at path, in mode 0600 and owned by uid:gid, for a peer that runs as uid.
// What is left there of an earlier run is replaced. The directory must not be writable by others.
func Listen(path string, uid, gid int, log *slog.Logger) (*Listener, error) {
	if len(path) > maxSocketPath {
		return nil,
			fmt.Errorf(
				"listening for management: the path %q is longer than the %d bytes that a "+
					"socket's name may have",
				path, maxSocketPath)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("removing an old management socket: %w", err)
	}
	socket, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		return nil, fmt.Errorf("listening for management: %w", err)
	}
	l := &Listener{socket: socket, uid: uid, log: log}
	if err := errors.Join(os.Chmod(path, 0o600), os.Lchown(path, uid, gid)); err != nil {
		return nil, errors.Join(fmt.Errorf("giving the management socket to uid %d: %w", uid, err),
			l.Close())
	}
	return l, nil
}

// PrivateDir makes dir, which gid can search and only we can write. The peer can reach what we put
// there and can replace nothing. One that exists must be of an earlier run: it keeps its mode, and
// gets gid.
func PrivateDir(dir string, gid int) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o711); err != nil {
		return err
	}
	err := os.Mkdir(dir, privateMode)
	if err == nil {
		return errors.Join(os.Lchown(dir, os.Geteuid(), gid), os.Chmod(dir, privateMode))
	}
	if !errors.Is(err, os.ErrExist) {
		return err
	}
	info, err := os.Lstat(dir)
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok || info.Mode() != os.ModeDir|privateMode || int(owner.Uid) != os.Geteuid() {
		return fmt.Errorf("%s exists and is not ours (mode %v); remove it", dir, info.Mode())
	}
	return os.Lchown(dir, -1, gid)
}

// OwnDir makes dir, which must lie in a PrivateDir, for the peer alone. Nothing of ours may be put
// there.
func OwnDir(dir string, uid, gid int) error {
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return os.Lchown(dir, uid, gid)
}

// Accept waits for a peer that runs as the uid given to Listen. It closes connections of others and
// goes on waiting. pid, when not 0, must be the peer's too. It ends with ctx.
func (l *Listener) Accept(ctx context.Context, pid int) (*Conn, error) {
	stop := context.AfterFunc(ctx, func() { _ = l.socket.SetDeadline(time.Unix(1, 0)) })
	defer func() {
		stop()
		_ = l.socket.SetDeadline(time.Time{})
	}()
	for {
		c, err := l.socket.AcceptUnix()
		if ctx.Err() != nil {
			if c != nil {
				_ = c.Close()
			}
			return nil, fmt.Errorf("waiting for openvpn to connect: %w", context.Cause(ctx))
		}
		if err != nil {
			return nil, fmt.Errorf("waiting for openvpn to connect: %w", err)
		}
		peer, err := credentials(c)
		if err == nil && int(peer.Uid) == l.uid && (pid == 0 || int(peer.Pid) == pid) {
			return newConn(c, l.log), nil
		}
		l.log.Warn("refusing a stranger on the management socket", "peer", peer, "error", err)
		_ = c.Close()
	}
}

// Close removes the socket.
func (l *Listener) Close() error { return l.socket.Close() }

// credentials returns who connected, as the kernel saw it (SO_PEERCRED, unix(7)).
func credentials(c *net.UnixConn) (*unix.Ucred, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	var peer *unix.Ucred
	var inner error
	if err := raw.Control(func(fd uintptr) {
		peer, inner = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return nil, err
	}
	return peer, inner
}
