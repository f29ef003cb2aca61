package config

import (
	"fmt"
	"path/filepath"
	"strings"
)

// unseen are the directories in whose place ztbridge.service has empty ones of its own
// (ProtectHome, PrivateTmp).
var unseen = []string{"/home", "/root", "/run/user", "/tmp", "/var/tmp"}

// unseenPlace returns which of them a file of the configuration is in, or nothing. Beside the
// configuration all is well wherever that is: it moves to its place with what it names.
func unseenPlace(path, configuration string) string {
	real := func(path string) string {
		if target, err := filepath.EvalSymlinks(path); err == nil {
			return target
		}
		return path
	}
	path = real(path)
	if below(path, real(filepath.Dir(configuration))) {
		return ""
	}
	for _, dir := range unseen {
		if below(path, dir) {
			return dir
		}
	}
	return ""
}

func below(path, dir string) bool {
	return strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/")
}

// CheckPlaces warns of each file that is there for whoever checks the configuration, and not for
// the service.
func (c *Config) CheckPlaces() []Warning {
	var warnings []Warning
	check := func(path string, at Position) {
		if dir := unseenPlace(path, c.File); path != "" && dir != "" {
			warnings = append(warnings,
				Warning{at, fmt.Sprintf("ztbridge.service sees nothing below %s; move %s to %s",
					dir, path, filepath.Dir(DefaultPath))})
		}
	}
	for _, e := range c.Egresses {
		if e.OpenVPN == nil {
			continue
		}
		check(e.OpenVPN.Profile, e.OpenVPN.ProfilePos)
		if e.OpenVPN.Credentials != nil {
			check(e.OpenVPN.Credentials.Path,
				Position{File: c.File, Key: "egress." + e.Name + ".openvpn.credentials"})
		}
	}
	if c.Endpoint != nil {
		check(c.Endpoint.HTTPS.Certificate,
			Position{File: c.File, Key: "endpoint.https.certificate"})
		check(c.Endpoint.HTTPS.Key, Position{File: c.File, Key: "endpoint.https.key"})
	}
	for _, path := range append(c.Notify.files(), c.Metrics.PasswordFile) {
		check(path, Position{File: c.File})
	}
	return warnings
}
