package services

import (
	"errors"
	"fmt"
	"os/user"
	"strconv"
)

// User is the system user that openvpn runs as.
type User struct {
	uid, gid int
}

// openvpnUsers are tried in order: the package's own user, then one that every system has.
var openvpnUsers = []string{"ztbridge-ovpn", "nobody"}

// LookupUser returns the unprivileged user for openvpn.
func LookupUser() (User, error) {
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
			return User{}, fmt.Errorf("looking up user %s: %w", name, err)
		}
		return User{uid, gid}, nil
	}
	return User{}, fmt.Errorf("looking up a user for openvpn: %w", errs)
}
