package main

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"ztbridge/image/build"
	"ztbridge/image/build/aptkey"
	"ztbridge/image/build/pkglock"
)

// zerotierFlags say where an image's zerotier-one comes from. It is not in Debian.
type zerotierFlags struct {
	deb, sum             string
	repository, suite    string
	keyFile, fingerprint string
	without              bool
}

func (z *zerotierFlags) register(flags *pflag.FlagSet) {
	flags.StringVar(&z.deb, "zerotier-deb", "", "the vendor's zerotier-one package")
	flags.StringVar(&z.sum, "zerotier-sha256", "",
		"its SHA-256; with a repository, it pins the version")
	flags.StringVar(&z.repository, "zerotier-repository", "",
		"address of the vendor's apt repository")
	flags.StringVar(&z.suite, "zerotier-suite", "trixie", "the repository's suite")
	flags.StringVar(&z.keyFile, "zerotier-key", "",
		"file with the repository's key, ASCII-armoured")
	flags.StringVar(&z.fingerprint, "zerotier-fingerprint", "", "the key's whole fingerprint")
	flags.BoolVar(&z.without, "without-zerotier", false, "build a test image without ZeroTier")
}

// check refuses what would surprise later: above all an image without ZeroTier that nobody asked
// for.
func (z *zerotierFlags) check() error {
	ways := 0
	for _, chosen := range []bool{z.deb != "", z.repository != "", z.without} {
		if chosen {
			ways++
		}
	}
	switch {
	case ways > 1:
		return fmt.Errorf(
			"%w: --zerotier-deb, --zerotier-repository and --without-zerotier exclude each other",
			errUsage)
	case ways == 0:
		return fmt.Errorf(
			"%w: say where zerotier-one comes from: --zerotier-deb, --zerotier-repository, or "+
				"--without-zerotier for a test image", errUsage)
	case z.deb != "" && z.sum == "":
		return fmt.Errorf("%w: --zerotier-deb needs --zerotier-sha256", errUsage)
	case z.repository != "" && (z.keyFile == "" || z.fingerprint == ""):
		return fmt.Errorf(
			"%w: --zerotier-repository needs --zerotier-key and --zerotier-fingerprint", errUsage)
	}
	return nil
}

// fetch returns the verified package for an architecture, or none where none is wanted. A
// repository's is put into dir.
func (z *zerotierFlags) fetch(ctx context.Context, arch, dir string) (file string, err error) {
	switch {
	case z.without:
		return "", nil
	case z.repository != "":
		text, err := os.ReadFile(z.keyFile)
		if err != nil {
			return "", fmt.Errorf("reading the repository's key: %w", err)
		}
		key, err := aptkey.Only(text, z.fingerprint)
		if err != nil {
			return "", err
		}
		vendor := pkglock.Vendor{URL: z.repository, Suite: z.suite, Key: key, Arch: arch}
		if file, err = vendor.Download(ctx, "zerotier-one", dir); err != nil {
			return "", err
		}
	default:
		file = z.deb
	}
	sum, err := build.FileSum(file)
	if err != nil {
		return "", err
	}
	if z.sum != "" && !strings.EqualFold(sum, z.sum) {
		return "", fmt.Errorf("checking %s: its sha256 is %s, not %s", file, sum, z.sum)
	}
	return file, nil
}
