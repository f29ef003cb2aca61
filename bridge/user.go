package bridge

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
)

// openvpnUser is whom openvpn runs as.
type openvpnUser struct {
	name     string
	uid, gid int
}

// openvpnUsers are tried in order: the one that the package makes, then the one that every system
// has.
var openvpnUsers = []string{"ztbridge-ovpn", "nobody"}

// lookupOpenVPNUser returns the unprivileged user for openvpn.
func lookupOpenVPNUser() (openvpnUser, error) {
	var errs error
	for _, name := range openvpnUsers {
		u, err := user.Lookup(name)
		if err != nil {
			errs = errors.Join(errs, err)
			continue
		}
		uid, err1 := strconv.Atoi(u.Uid)
		gid, err2 := strconv.Atoi(u.Gid)
		if err := errors.Join(err1, err2); err != nil {
			return openvpnUser{}, fmt.Errorf("looking up user %s: %w", name, err)
		}
		return openvpnUser{name, uid, gid}, nil
	}
	return openvpnUser{}, fmt.Errorf("looking up a user for openvpn: %w", errs)
}
