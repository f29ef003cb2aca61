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

// memberNames returns the names of profiles without folder and ending, or with what of them tells
// them apart.
func memberNames(paths []string) []string {
	forms := []func(string) string{
		func(p string) string { return strings.TrimSuffix(path.Base(p), path.Ext(p)) },
		func(p string) string { return strings.TrimSuffix(p, path.Ext(p)) },
		func(p string) string { return p },
	}
	count := map[string]int{}
	for _, p := range paths {
		for _, form := range slices.Compact([]string{forms[0](p), forms[1](p), forms[2](p)}) {
			count[form]++
		}
	}
	out := make([]string, len(paths))
	for i, p := range paths {
		out[i] = p
		for _, form := range forms {
			if count[form(p)] == 1 {
				out[i] = form(p)
				break
			}
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

// leaveOut tells of profiles that cannot be used, and of archives in an archive, which are not
// read.
func (r *Report) leaveOut(reasons []error, names []string) {
	const some = 3
	leftOut := func(reason string) {
		r.Findings = append(r.Findings,
			Finding{Directive: "left out", Severity: Serious, Reason: reason})
	}
	for _, reason := range reasons[:min(len(reasons), some)] {
		leftOut(reason.Error())
	}
	if more := len(reasons) - some; more > 0 {
		leftOut(fmt.Sprintf("%d more profiles that cannot be used", more))
	}
	if at := slices.IndexFunc(names, isArchive); at >= 0 {
		r.Findings = append(r.Findings, Finding{Directive: names[at], Severity: Warning,
			Reason: "an archive in it is not read; unpack it if it has profiles"})
	}
}
