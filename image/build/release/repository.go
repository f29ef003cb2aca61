package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/clearsign"
)

// suite is the one suite name for all releases of Debian and Ubuntu. The program is static, and the
// package depends on nothing that differs.
const suite = "stable"

const distributions = `Origin: ztbridge
Label: ztbridge
Suite: ` + suite + `
Codename: ` + suite + `
Architectures: amd64 arm64 armhf
Components: main
Description: Packages of ztbridge for Debian 12 and 13 and Ubuntu 24.04
`

var releaseDateRE = regexp.MustCompile(`(?m)^Date: .*$`)

// repository makes a signed apt repository of the packages. reprepro lays it out; its only stamp,
// the date of the index, is set to the release's before the index is signed.
func repository(ctx context.Context, folder string, debs []string, when time.Time,
	key *openpgp.Entity) error {
	work, err := os.MkdirTemp("", "ztbridge-apt-*")
	if err != nil {
		return fmt.Errorf("making the repository: %w", err)
	}
	defer os.RemoveAll(work)
	if err := os.WriteFile(filepath.Join(work, "distributions"), []byte(distributions),
		0o644); err != nil {
		return fmt.Errorf("making the repository: %w", err)
	}
	// Its database stays behind: what is served is made again each time.
	args := append([]string{"--silent", "--confdir", work, "--dbdir", filepath.Join(work, "db"),
		"--outdir", folder, "--section", "net", "--priority", "optional", "includedeb", suite},
		debs...)
	if out, err := exec.CommandContext(ctx, "reprepro", args...).CombinedOutput(); err != nil {
		return fmt.Errorf("making the repository: reprepro: %w: %s", err, bytes.TrimSpace(out))
	}
	dists := filepath.Join(folder, "dists", suite)
	index, err := os.ReadFile(filepath.Join(dists, "Release"))
	if err != nil {
		return fmt.Errorf("reading the repository's index: %w", err)
	}
	index = releaseDateRE.ReplaceAll(index, []byte("Date: "+
		when.UTC().Format("Mon, 02 Jan 2006 15:04:05 UTC")))
	return signIndex(dists, index, when, key)
}

// signIndex writes the index, its detached signature, and the form that has both in one.
func signIndex(dists string, index []byte, when time.Time, key *openpgp.Entity) error {
	var inline, detached bytes.Buffer
	w, err := clearsign.Encode(&inline, key.PrivateKey, aptConfig(when))
	if err != nil {
		return fmt.Errorf("signing the repository: %w", err)
	}
	_, err = w.Write(index)
	if err := errors.Join(err, w.Close()); err != nil {
		return fmt.Errorf("signing the repository: %w", err)
	}
	if err := openpgp.ArmoredDetachSign(&detached, key, bytes.NewReader(index),
		aptConfig(when)); err != nil {
		return fmt.Errorf("signing the repository: %w", err)
	}
	for name, data := range map[string][]byte{"Release": index,
		"InRelease": append(inline.Bytes(), '\n'), "Release.gpg": append(detached.Bytes(), '\n')} {
		if err := os.WriteFile(filepath.Join(dists, name), data, 0o644); err != nil {
			return fmt.Errorf("signing the repository: %w", err)
		}
	}
	return nil
}
