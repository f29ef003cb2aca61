package sockopt

import (
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// coarse is how much older a connection may be than the kernel says: its clock ticks 100 times a
// second or more.
const coarse = 10 * time.Millisecond

// Opened returns when a TCP connection was established, or a little before. It may have waited to
// be accepted since. Nothing may have been sent on it yet: until then the kernel counts the time
// since it was established as that since data was sent last (TCP_INFO, tcp(7)).
func Opened(conn syscall.Conn) (time.Time, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return time.Time{}, fmt.Errorf("reaching the socket: %w", err)
	}
	var info *unix.TCPInfo
	var failed error
	now := time.Now()
	err = raw.Control(func(fd uintptr) {
		info, failed = unix.GetsockoptTCPInfo(int(fd), unix.SOL_TCP, unix.TCP_INFO)
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("asking for the age of a connection: %w", err)
	}
	age := time.Duration(info.Last_data_sent) * time.Millisecond
	return now.Add(-age - coarse), nil
}
