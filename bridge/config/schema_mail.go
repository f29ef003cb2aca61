package config

import (
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"strconv"
	"strings"
)

// NotifyEmail is who sends mail to whom.
type NotifyEmail struct {
	By       []string
	Host     string
	Port     uint16
	Security string // one of MailSecurity
	From     string
	To       []string
	Username string
	Password SecretFile
}

// Server returns the server as it is written in the file.
func (m *NotifyEmail) Server() string {
	return net.JoinHostPort(m.Host, strconv.Itoa(int(m.Port)))
}

type viewEmail struct {
	Server       string     `yaml:"server"`
	Security     string     `yaml:"security"`
	From         string     `yaml:"from"`
	To           []string   `yaml:"to,flow"`
	Username     string     `yaml:"username,omitempty"`
	PasswordFile SecretFile `yaml:"password_file,omitempty"`
	By           []string   `yaml:"by,flow"`
}

// MarshalYAML returns the settings as they are written.
func (m *NotifyEmail) MarshalYAML() (any, error) {
	return viewEmail{m.Server(), m.Security, m.From, m.To, m.Username, m.Password, m.By}, nil
}

// The security of mail servers.
const (
	MailStartTLS = "starttls"
	MailTLS      = "tls"
	MailPlain    = "none"
)

const (
	defaultMailPort = 587
	tlsMailPort     = 465
)

func (v value) email() *NotifyEmail {
	m := &NotifyEmail{}
	var username, server, security value
	v.object(fields{
		"by":       func(v value) { m.By = v.paths() },
		"server":   func(v value) { server = v; m.Host, m.Port, _ = v.mailServer() },
		"from":     func(v value) { m.From, _ = v.mailbox() },
		"username": func(v value) { username = v; m.Username, _ = v.text() },
		"to": func(v value) {
			for _, item := range v.some("nobody gets it", "write an address") {
				if to, ok := item.mailbox(); ok {
					m.To = append(m.To, to)
				}
			}
		},
		"security": func(v value) {
			security = v
			m.Security, _ = v.oneOf(MailStartTLS, MailTLS, MailPlain)
		},
		"password_file": func(v value) {
			v.secret(&m.Password, func(string) (string, string) { return "", "" })
		},
	})
	if m.Security == "" {
		m.Security = MailStartTLS
		if m.Port == tlsMailPort {
			m.Security = MailTLS
		}
	}
	switch {
	case len(v.d.errs) > 0:
	case server.node == nil || m.From == "" || len(m.To) == 0:
		v.fail(ErrMissing, "mail needs a server, a sender and a recipient",
			"add `server:`, `from:` and `to:` below it")
	case (m.Username == "") != (m.Password.Path == ""):
		v.fail(ErrMissing, "a user name and its password go together",
			"give both `username:` and `password_file:`")
	case m.Security == MailPlain && username.node != nil:
		security.fail(ErrValue, "the password would be sent in the clear",
			"write `security: starttls` or `tls`, or remove `username:` and `password_file:`")
	}
	return m
}

// mailServer decodes a host with or without a port.
func (v value) mailServer() (string, uint16, bool) {
	text, ok := v.text()
	if !ok {
		return "", 0, false
	}
	host, port := text, uint64(defaultMailPort)
	if _, err := netip.ParseAddr(text); err != nil {
		if before, after, found := strings.Cut(text, "]:"); found {
			host = strings.TrimPrefix(before, "[")
			port, err = strconv.ParseUint(after, 10, 16)
		} else if before, after, found := strings.Cut(text, ":"); found {
			host = before
			port, err = strconv.ParseUint(after, 10, 16)
		} else {
			err = nil
		}
		if err != nil || port == 0 {
			v.fail(ErrValue, "this is no mail server", "write it as smtp.example.org:587")
			return "", 0, false
		}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil && (!hostRE.MatchString(host) || numeric(host)) ||
		err == nil && addr.Zone() != "" {
		v.fail(ErrValue, "this is no mail server", "write it as smtp.example.org:587")
		return "", 0, false
	}
	return host, uint16(port), true
}

// mailbox decodes an address of mail.
func (v value) mailbox() (string, bool) {
	text, ok := v.text()
	if !ok {
		return "", false
	}
	if _, err := mail.ParseAddress(text); err != nil || strings.ContainsAny(text, "\r\n") {
		v.fail(ErrValue, fmt.Sprintf("%q is no mail address", text), "write it as me@example.org")
		return "", false
	}
	return text, true
}
