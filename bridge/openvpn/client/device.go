package client

import (
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// interfaceIndex returns the index of a network interface, 0 when there is none. One ioctl
// (netdevice(7)) costs microseconds; net.InterfaceByName lists all interfaces.
func interfaceIndex(name string) int {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return 0
	}
	defer unix.Close(fd)
	ifr, err := unix.NewIfreq(name)
	if err != nil {
		return 0
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr); err != nil {
		return 0
	}
	return int(ifr.Uint32())
}

// expiryNotice is how long before its end a certificate is warned of.
const expiryNotice = 21 * 24 * time.Hour

func (t *Tunnel) certificateWarnings() []string {
	var out []string
	now := time.Now()
	for _, c := range t.cfg.Profile.Certificates {
		if left := c.NotAfter.Sub(now); left > 0 && left < expiryNotice {
			out = append(out,
				fmt.Sprintf("the certificate %s expires on %s: get a new profile from the provider",
					c.Subject, c.NotAfter.UTC().Format(time.DateOnly)))
		}
	}
	return out
}
