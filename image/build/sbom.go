package build

import (
	"bytes"
	"context"
	"debug/buildinfo"
	"fmt"
	"maps"
	"net/url"
	"os/exec"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// These types are the subset of SPDX 2.3 that is written: https://spdx.github.io/spdx-spec/v2.3/.
// The types of spdx/tools-golang cover the whole standard; using them would take as many lines and
// add its modules.
type spdxDocument struct {
	Version       string         `json:"spdxVersion"`
	DataLicense   string         `json:"dataLicense"`
	ID            string         `json:"SPDXID"`
	Name          string         `json:"name"`
	Namespace     string         `json:"documentNamespace"`
	Creation      spdxCreation   `json:"creationInfo"`
	Packages      []spdxPackage  `json:"packages"`
	Relationships []spdxRelation `json:"relationships"`
}

type spdxCreation struct {
	Created  string   `json:"created"`
	Creators []string `json:"creators"`
}

type spdxPackage struct {
	ID           string         `json:"SPDXID"`
	Name         string         `json:"name"`
	Version      string         `json:"versionInfo"`
	Download     string         `json:"downloadLocation"`
	Analyzed     bool           `json:"filesAnalyzed"`
	Checksums    []spdxChecksum `json:"checksums,omitempty"`
	ExternalRefs []spdxRef      `json:"externalRefs,omitempty"`
}

type spdxChecksum struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"checksumValue"`
}

type spdxRef struct {
	Category string `json:"referenceCategory"`
	Type     string `json:"referenceType"`
	Locator  string `json:"referenceLocator"`
}

type spdxRelation struct {
	From string `json:"spdxElementId"`
	Type string `json:"relationshipType"`
	To   string `json:"relatedSpdxElement"`
}

// archive is the address that the bill names for Debian's packages. It is constant, so that builds
// from different mirrors have the same bytes.
const archive = "https://deb.debian.org"

const unknownSource = "NOASSERTION"

// spdx lists the image's packages (Debian's, the vendor's and ours) and our programs' Go modules.
func (b *build) spdx(ctx context.Context) (spdxDocument, error) {
	const document, image = "SPDXRef-DOCUMENT", "SPDXRef-image"
	name := "ztbridge-" + b.Profile.Target + "-" + b.Version
	doc := spdxDocument{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: document, Name: name,
		Namespace: fmt.Sprintf("https://spdx.org/spdxdocs/%s-%08x", name, b.serial()),
		Creation: spdxCreation{Created: b.Lock.Date.Format(time.RFC3339),
			Creators: []string{"Tool: ztbridge-image"}},
		Packages: []spdxPackage{{ID: image, Name: name, Version: b.Version,
			Download: unknownSource}},
		Relationships: []spdxRelation{{document, "DESCRIBES", image}},
	}
	add := func(id string, p spdxPackage, purl string) {
		p.ID, p.ExternalRefs = id, []spdxRef{{"PACKAGE-MANAGER", "purl", purl}}
		doc.Packages = append(doc.Packages, p)
		doc.Relationships = append(doc.Relationships, spdxRelation{image, "CONTAINS", id})
	}
	for i, p := range b.Lock.Packages {
		add(fmt.Sprintf("SPDXRef-deb-%d", i), spdxPackage{
			Name: p.Name, Version: p.Version, Download: archive + "/" + p.Path,
			Checksums: []spdxChecksum{{"SHA256", p.SHA256}},
		}, debURL("debian", p.Name, p.Version, p.Arch))
	}
	others := map[string]string{"ztbridge": b.Deb}
	if b.ZeroTierDeb != "" {
		others["zerotier"] = b.ZeroTierDeb
	}
	for _, vendor := range slices.Sorted(maps.Keys(others)) {
		p, arch, err := describeDeb(ctx, others[vendor])
		if err != nil {
			return doc, err
		}
		add("SPDXRef-"+vendor, p, debURL(vendor, p.Name, p.Version, arch))
	}
	modules, err := b.modules(ctx)
	if err != nil {
		return doc, err
	}
	for i, name := range slices.Sorted(maps.Keys(modules)) {
		add(fmt.Sprintf("SPDXRef-go-%d", i), modules[name], "pkg:golang/"+name)
	}
	return doc, nil
}

// describeDeb reads name, version and architecture from a package's control file.
func describeDeb(ctx context.Context, file string) (p spdxPackage, arch string, err error) {
	out, err := exec.CommandContext(ctx, "dpkg-deb", "--show", "--showformat",
		"${Package} ${Version} ${Architecture}", file).Output()
	if err != nil {
		return p, "", fmt.Errorf("describing %s: %w", filepath.Base(file), err)
	}
	fields := strings.Fields(string(out))
	if len(fields) != 3 {
		return p, "", fmt.Errorf("describing %s: it says %q", filepath.Base(file), out)
	}
	sum, err := FileSum(file)
	if err != nil {
		return p, "", err
	}
	return spdxPackage{Name: fields[0], Version: fields[1], Download: unknownSource,
		Checksums: []spdxChecksum{{"SHA256", sum}}}, fields[2], nil
}

func debURL(vendor, name, version, arch string) string {
	return fmt.Sprintf("pkg:deb/%s/%s@%s?arch=%s", vendor, url.PathEscape(name),
		url.QueryEscape(version), arch)
}

// modules returns the Go modules in our programs by "path@version". The standard library is one.
func (b *build) modules(ctx context.Context) (map[string]spdxPackage, error) {
	ours := newTree()
	if err := addDeb(ctx, ours, b.Deb); err != nil {
		return nil, err
	}
	programs := map[string][]byte{"init": b.Init, "ztbridge-appliance": b.Appliance}
	for file, n := range ours.nodes {
		if path.Dir(file) == "usr/bin" && !n.isDir() {
			programs[path.Base(file)] = n.data
		}
	}
	all := map[string]spdxPackage{}
	for name, data := range programs {
		info, err := buildinfo.Read(bytes.NewReader(data))
		if err != nil {
			return nil, fmt.Errorf("reading the modules of %s: %w", name, err)
		}
		add := func(path, version string) {
			all[path+"@"+version] = spdxPackage{Name: path, Version: version,
				Download: unknownSource}
		}
		add("std", strings.TrimPrefix(info.GoVersion, "go"))
		for _, m := range info.Deps {
			if m.Replace != nil {
				m = m.Replace
			}
			add(m.Path, m.Version)
		}
	}
	return all, nil
}
