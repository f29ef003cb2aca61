package image

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"ztbridge/image/pkglock"
)

// Manifest says what an image is and is made of.
type Manifest struct {
	Target   string            `json:"target"`
	Version  string            `json:"version"`
	Date     time.Time         `json:"date"` // of the package indexes; every time stamp in the image
	Serial   string            `json:"serial"`
	ZeroTier string            `json:"zerotier"` // sha256 of the vendor's package, or "none"
	Tested   string            `json:"tested"`
	Packages []ManifestPackage `json:"packages"`
	Files    map[string]string `json:"files"` // name → sha256
}

// ManifestPackage is a Debian package in the image.
type ManifestPackage struct {
	Name    string `json:"name"`
	Version string `json:"version"`
	Arch    string `json:"arch"`
	SHA256  string `json:"sha256"`
}

func (b *build) manifest(files []string) (Manifest, error) {
	m := Manifest{Target: b.Profile.Target, Version: b.Version, Date: b.Lock.Date, Serial: fmt.Sprintf("%08x", b.serial()),
		ZeroTier: "none", Tested: b.Profile.Tested, Files: map[string]string{}}
	for _, p := range b.Lock.Packages {
		m.Packages = append(m.Packages, ManifestPackage{p.Name, p.Version, p.Arch, p.SHA256})
	}
	if b.ZeroTierDeb != "" {
		sum, err := FileSum(b.ZeroTierDeb)
		if err != nil {
			return Manifest{}, err
		}
		m.ZeroTier = sum
	}
	for _, file := range files {
		sum, err := FileSum(file)
		if err != nil {
			return Manifest{}, err
		}
		m.Files[filepath.Base(file)] = sum
	}
	return m, nil
}

// FileSum is the SHA-256 of a file in hex.
func FileSum(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("summing %s: %w", filepath.Base(file), err)
	}
	defer f.Close()
	sum, err := sha256Hex(f)
	if err != nil {
		return "", fmt.Errorf("summing %s: %w", filepath.Base(file), err)
	}
	return sum, nil
}

// The subset of SPDX 2.3 that a bill of materials needs: https://spdx.github.io/spdx-spec/v2.3/
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

func (b *build) spdx() spdxDocument {
	const document, image = "SPDXRef-DOCUMENT", "SPDXRef-image"
	name := "ztbridge-" + b.Profile.Target + "-" + b.Version
	doc := spdxDocument{
		Version: "SPDX-2.3", DataLicense: "CC0-1.0", ID: document, Name: name,
		Namespace:     fmt.Sprintf("https://spdx.org/spdxdocs/%s-%08x", name, b.serial()),
		Creation:      spdxCreation{Created: b.Lock.Date.Format(time.RFC3339), Creators: []string{"Tool: ztbridge-image"}},
		Packages:      []spdxPackage{{ID: image, Name: name, Version: b.Version, Download: "NOASSERTION"}},
		Relationships: []spdxRelation{{document, "DESCRIBES", image}},
	}
	for i, p := range b.Lock.Packages {
		id := fmt.Sprintf("SPDXRef-deb-%d", i)
		doc.Packages = append(doc.Packages, spdxPackage{
			ID: id, Name: p.Name, Version: p.Version, Download: b.Mirror + "/" + p.Path,
			Checksums:    []spdxChecksum{{"SHA256", p.SHA256}},
			ExternalRefs: []spdxRef{{"PACKAGE-MANAGER", "purl", packageURL(p)}},
		})
		doc.Relationships = append(doc.Relationships, spdxRelation{image, "CONTAINS", id})
	}
	return doc
}

func packageURL(p pkglock.Package) string {
	return fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s", url.PathEscape(p.Name), url.QueryEscape(p.Version), p.Arch)
}
