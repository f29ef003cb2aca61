package config

import "net/netip"

// Metrics says where metrics are served by TCP.
type Metrics struct {
	// Listen are private addresses of this box; empty: nowhere.
	Listen   []netip.AddrPort `yaml:"listen,flow"`
	Username string           `yaml:"username,omitempty"` // empty: nobody is asked
	// Password is the content of PasswordFile: a password, or its bcrypt hash.
	Password     Secret `yaml:"-"`
	PasswordFile string `yaml:"password_file,omitempty"` // absolute path, mode 0600
}

func (d *decoder) metrics(v value) {
	m := &d.cfg.Metrics
	v.object(fields{
		"listen": func(v value) {
			for _, item := range v.some("metrics are served nowhere",
				"write an address of this box, or leave `metrics:` out") {
				if at, ok := item.privateAddrPort(); ok {
					m.Listen = append(m.Listen, at)
				}
			}
		},
		"username": func(v value) { m.Username, _ = v.text() },
		"password_file": func(v value) {
			var file SecretFile
			v.secret(&file, func(text string) (string, string) {
				m.Password = NewSecret(text)
				return "", ""
			})
			m.PasswordFile = file.Path
		},
	})
	if (m.Username == "") != (m.PasswordFile == "") {
		v.fail(ErrMissing, "a user name and its password go together",
			"give both `username:` and `password_file:`")
	}
	if m.Listen == nil && len(d.errs) == 0 {
		v.fail(ErrMissing, "metrics are served nowhere", "add `listen: 10.147.17.1:9790`")
	}
}

// privateAddrPort decodes an address of this box that the Internet does not lead to, and a port.
func (v value) privateAddrPort() (netip.AddrPort, bool) {
	text, ok := v.text()
	if !ok {
		return netip.AddrPort{}, false
	}
	const form = "write this box's address in the ZeroTier network or LAN with a port: " +
		"10.147.17.1:9790"
	at, err := netip.ParseAddrPort(text)
	if err != nil || at.Port() == 0 || at.Addr().Zone() != "" {
		v.fail(ErrValue, `"`+text+`" is not an address with a port`, form)
		return netip.AddrPort{}, false
	}
	a := at.Addr().Unmap()
	switch {
	case a.IsUnspecified():
		v.fail(ErrValue, text+" means every interface, the Internet's included", form)
		return netip.AddrPort{}, false
	case !a.IsPrivate() && !a.IsLoopback() && !sharedAddresses.Contains(a):
		v.fail(ErrValue, text+" is a public address: anybody could read the metrics", form)
		return netip.AddrPort{}, false
	}
	return netip.AddrPortFrom(a, at.Port()), true
}
