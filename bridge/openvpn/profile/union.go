package profile

import (
	"fmt"
	"path"
	"slices"
	"strings"
	"time"
)

// newUnion makes one profile whose servers are those of all. paths are the members' places in their
// collection.
func newUnion(name string, paths []string, members []*Profile) (*Profile, error) {
	union := &Profile{Name: name, members: map[string]*Profile{}, settings: newSettings()}
	short := memberNames(paths)
	for i, m := range members {
		if len(union.Remotes)+len(m.Remotes) > maxRemotes {
			return nil, &Error{Name: name, Reason: fmt.Sprintf(
				"the profiles have more than %d servers; choose some by pick", maxRemotes)}
		}
		for _, r := range m.Remotes {
			r.Member = short[i]
			union.Remotes = append(union.Remotes, r)
		}
		union.members[short[i]] = m
		union.Certificates = append(union.Certificates, m.Certificates...)
		union.NeedsCredentials = union.NeedsCredentials || m.NeedsCredentials
		union.NeedsPassphrase = union.NeedsPassphrase || m.NeedsPassphrase
	}
	return union, nil
}

// memberNames returns the names of profiles without folder and ".ovpn" where that tells them apart.
func memberNames(paths []string) []string {
	count := map[string]int{}
	base := func(p string) string { return strings.TrimSuffix(path.Base(p), path.Ext(p)) }
	for _, p := range paths {
		count[base(p)]++
	}
	out := make([]string, len(paths))
	for i, p := range paths {
		if out[i] = base(p); count[out[i]] > 1 {
			out[i] = strings.TrimSuffix(p, path.Ext(p))
		}
	}
	return out
}

// For returns the profile that a server is from: the profile itself unless it is of several.
func (p *Profile) For(r Remote) *Profile {
	if m := p.members[r.Member]; m != nil {
		return m
	}
	return p
}

// Members returns the names of the profiles of a collection, in their order; none for a single one.
func (p *Profile) Members() []string {
	var out []string
	for _, r := range p.Remotes {
		if r.Member != "" && !slices.Contains(out, r.Member) {
			out = append(out, r.Member)
		}
	}
	return out
}

// expired is Expired for a collection: no member can connect.
func (p *Profile) expired(now time.Time) string {
	reason := ""
	for _, name := range p.Members() {
		if reason = p.members[name].Expired(now); reason == "" {
			return ""
		}
	}
	return reason
}

// add takes over the findings of another file, each with its name.
func (r *Report) add(other Report) {
	for _, f := range other.Findings {
		if !slices.ContainsFunc(r.Findings, func(g Finding) bool {
			return g.Directive == f.Directive && g.Reason == f.Reason
		}) {
			f.Line = 0 // it is in several files, at several lines
			r.Findings = append(r.Findings, f)
		}
	}
}
