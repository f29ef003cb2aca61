package endpoint

import (
	"errors"
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"ztbridge/bridge/openvpn/process"
)

// deviceError is why a listener's TUN device cannot be made.
type deviceError struct {
	device string
	err    error
}

func (e *deviceError) Error() string { return fmt.Sprintf("preparing %s: %v", e.device, e.err) }

func (e *deviceError) Unwrap() error { return e.err }

const deviceRemedy = "see that the TUN driver is there: modprobe tun, and ls -l /dev/net/tun; a " +
	"container or a virtual server may have to be given it by its host"

// remedy returns what to do about a listener that failed.
func remedy(l Listener, err error) string {
	var device *deviceError
	switch {
	case errors.Is(err, process.ErrNotInstalled):
		return process.InstallRemedy
	case errors.Is(err, unix.ENOSPC):
		return "free some space: df -h /run"
	case errors.As(err, &device):
		return deviceRemedy
	}
	// OpenVPN says in words only why it ends.
	for _, r := range []struct{ words, remedy string }{
		{"Address already in use", fmt.Sprintf("another program uses %s; see which: "+
			"ss -%slnp 'sport = :%d'; stop it, or choose another port in endpoint.listen",
			l.Name(), l.Proto[:1], l.Port)},
		{"bind failed", fmt.Sprintf("openvpn may not use %s; start ztbridge by its unit, which "+
			"gives it that right: systemctl restart ztbridge", l.Name())},
		{"Options error", process.InstallRemedy},
		{"TUN/TAP", deviceRemedy}, {"TUNSETIFF", deviceRemedy}, {"tun/tap", deviceRemedy},
		{"CRL", "make the keys again from a backup: ztbridge client import-ca --replace FILE"},
		{"Cannot load", "make the keys again from a backup: " +
			"ztbridge client import-ca --replace FILE"},
	} {
		if strings.Contains(err.Error(), r.words) {
			return r.remedy
		}
	}
	return "see what openvpn says: journalctl -u ztbridge -n 50"
}
