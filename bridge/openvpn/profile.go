package openvpn

import (
	"fmt"
	"time"
)

// FileReader reads a file that a profile refers to by a relative name, for inlining. DirFiles makes
// one that is confined to a directory.
type FileReader func(name string) ([]byte, error)

// Proto is the transport of a remote.
type Proto string

// The transports.
const (
	UDP Proto = "udp"
	TCP Proto = "tcp"
)

// Remote is one server of a profile.
type Remote struct {
	Host   string // a name or an address
	Port   uint16
	Proto  Proto
	Family int // 4 or 6 when the profile insists on one, else 0
}

func (r Remote) String() string {
	if r.Host == "" {
		return ""
	}
	return fmt.Sprintf("%s port %d/%s", r.Host, r.Port, r.Proto)
}

// Severity orders what a Report says.
type Severity string

// The severities.
const (
	Info    Severity = "info"    // dropped or rewritten without any loss
	Warning Severity = "warning" // works, but weaker, or not as the profile says
)

// Finding is one remark about a profile.
type Finding struct {
	Line      int // from 1; 0 when it is about the whole
	Directive string
	Severity  Severity
	Reason    string
}

func (f Finding) String() string {
	if f.Line == 0 {
		return fmt.Sprintf("%s: %s", f.Directive, f.Reason)
	}
	return fmt.Sprintf("line %d: %s: %s", f.Line, f.Directive, f.Reason)
}

// Report says what of a profile was dropped, rewritten or is weak, in the order of its lines.
type Report struct {
	Findings []Finding
}

// ProfileError is a profile that cannot be used, with its place.
type ProfileError struct {
	Name      string
	Line      int // from 1; 0 when it is about the whole
	Directive string
	Reason    string
}

func (e *ProfileError) Error() string {
	s := e.Name
	if e.Line > 0 {
		s += fmt.Sprintf(":%d", e.Line)
	}
	if e.Directive != "" {
		s += ": " + e.Directive
	}
	return s + ": " + e.Reason
}

// Certificate is what is worth knowing of an inline certificate.
type Certificate struct {
	Block     string // "ca", "cert", "extra-certs" or "pkcs12"
	Subject   string
	NotBefore time.Time
	NotAfter  time.Time
}
