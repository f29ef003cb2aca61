package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"ztbridge/bridge/config"
	"ztbridge/bridge/services"
	"ztbridge/image/build/userdata"
)

type userDataFlags struct {
	config, out     string
	pkg, zerotier   userdata.Download
	repository      userdata.Repository
	keyFile         string
	withoutZeroTier bool
}

func userDataCommand() *cobra.Command {
	var f userDataFlags
	cmd := &cobra.Command{
		Use:   "user-data --config ztbridge.yaml -o FILE",
		Short: "Write user-data that makes a stock cloud image a box",
		Long: `Write user-data for a stock Debian or Ubuntu image with openvpn 2.6 or newer: Debian 12,
Ubuntu 24.04, or later. The configuration and its profiles are checked first, as by
"ztbridge config check"; they and the files that they name go in with it, so the result is
as secret as they are. A profile's certificates must be inside it.

ZeroTier comes by the vendor's package (--zerotier-url, --zerotier-sha256) or by the
vendor's repository (--zerotier-repository, --zerotier-key, --zerotier-fingerprint).`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	flags := cmd.Flags()
	flags.StringVar(&f.config, "config", "", "configuration file")
	flags.StringVarP(&f.out, "output", "o", "", "file to write, readable by its owner only")
	flags.StringVar(&f.pkg.URL, "package-url", "", "https address of ztbridge's package")
	flags.StringVar(&f.pkg.SHA256, "package-sha256", "", "its SHA-256")
	flags.StringVar(&f.zerotier.URL, "zerotier-url", "",
		"https address of the vendor's zerotier-one package")
	flags.StringVar(&f.zerotier.SHA256, "zerotier-sha256", "", "its SHA-256")
	flags.StringVar(&f.repository.URL, "zerotier-repository", "",
		"https address of the vendor's apt repository")
	flags.StringVar(&f.repository.Suite, "zerotier-suite", "trixie", "the repository's suite")
	flags.StringVar(&f.keyFile, "zerotier-key", "",
		"file with the repository's key, ASCII-armoured")
	flags.StringVar(&f.repository.Fingerprint, "zerotier-fingerprint", "",
		"the key's whole fingerprint")
	flags.BoolVar(&f.withoutZeroTier, "without-zerotier", false, "install no zerotier-one")
	return cmd
}

func (f *userDataFlags) run(cmd *cobra.Command) error {
	if f.config == "" || f.out == "" {
		return fmt.Errorf("%w: --config and -o are needed", errUsage)
	}
	options := userdata.Options{Package: f.pkg}
	switch {
	case f.zerotier.URL != "" && f.repository.URL != "":
		return fmt.Errorf("%w: --zerotier-url and --zerotier-repository exclude each other",
			errUsage)
	case f.zerotier.URL != "":
		options.ZeroTier = &f.zerotier
	case f.repository.URL != "":
		key, err := os.ReadFile(f.keyFile)
		if err != nil {
			return fmt.Errorf("reading the repository's key: %w", err)
		}
		f.repository.Key = key
		options.Repository = &f.repository
	case !f.withoutZeroTier:
		return fmt.Errorf("%w: say where zerotier-one comes from, or --without-zerotier", errUsage)
	}
	files, remarks, err := configurationFiles(f.config)
	if err != nil {
		return err
	}
	fmt.Fprint(cmd.ErrOrStderr(), remarks)
	options.Files = files
	text, err := userdata.Generate(options)
	if err != nil {
		return err
	}
	if err := os.WriteFile(f.out, text, 0o600); err != nil {
		return fmt.Errorf("writing user-data: %w", err)
	}
	for _, w := range userdata.SizeWarnings(len(text)) {
		fmt.Fprintln(cmd.ErrOrStderr(), "warning: "+w+"; use fewer or smaller profiles there")
	}
	progressTo(cmd.ErrOrStderr())("user-data",
		fmt.Sprintf("%d bytes, less than %d", len(text), userdata.Limit))
	fmt.Fprintln(cmd.OutOrStdout(), f.out)
	return nil
}

// configurationFiles reads the configuration and what it names, all of which must lie beside it: on
// the machine it will. The remarks are those of `ztbridge config check`, and so are the errors: on
// a machine far away they would be found too late.
func configurationFiles(path string) (files map[string][]byte, remarks string, err error) {
	remarks, err = services.Check(path, nil)
	if err != nil {
		return nil, "", err
	}
	cfg, _, err := config.Load(path, nil)
	if err != nil {
		return nil, "", err
	}
	path, err = filepath.Abs(path)
	if err != nil {
		return nil, "", fmt.Errorf("finding the configuration: %w", err)
	}
	sources := map[string]string{"ztbridge.yaml": path}
	for _, file := range cfg.Files() {
		if filepath.Dir(file) != filepath.Dir(path) {
			return nil, "", fmt.Errorf("packing %s: %w", file, errNotBeside)
		}
		sources[filepath.Base(file)] = file
	}
	files = map[string][]byte{}
	for name, source := range sources {
		if files[name], err = os.ReadFile(source); err != nil {
			return nil, "", fmt.Errorf("packing %s: %w", name, err)
		}
	}
	return files, remarks, nil
}

var errNotBeside = errors.New(
	"it does not lie beside the configuration; put it there and name it without a path")
