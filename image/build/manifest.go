package build

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

// Manifest describes an image and lists the packages and files that it consists of.
type Manifest struct {
	Target  string `json:"target"`
	Version string `json:"version"`
	// of the package indexes; every time stamp in the image
	Date     time.Time         `json:"date"`
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
	m := Manifest{Target: b.Profile.Target, Version: b.Version, Date: b.Lock.Date,
		Serial:   fmt.Sprintf("%08x", b.serial()),
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

// FileSum returns the SHA-256 of a file in lower-case hex.
func FileSum(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", fmt.Errorf("summing %s: %w", filepath.Base(file), err)
	}
	defer f.Close()
	sum := sha256.New()
	if _, err := io.Copy(sum, f); err != nil {
		return "", fmt.Errorf("summing %s: %w", filepath.Base(file), err)
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
