package main

import (
	"cmp"
	"fmt"
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// These are set by the build: -ldflags "-X main.release=1.2.3 -X main.commit=… -X main.date=…".
var (
	release string
	commit  string
	date    string // of the commit, YYYY-MM-DD
)

// version returns the release, or else the commit that the toolchain recorded.
func version() string {
	if release != "" {
		return release
	}
	if c := recorded("vcs.revision", 12); c != "" {
		return "devel-" + c
	}
	return "devel"
}

// recorded returns the beginning of what the toolchain recorded about the checkout.
func recorded(key string, length int) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return ""
	}
	for _, s := range info.Settings {
		if s.Key == key && len(s.Value) >= length {
			return s.Value[:length]
		}
	}
	return ""
}

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print the version, with its commit and date",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintf(p.out, "ztbridge %s (commit %s of %s, %s, %s/%s)\n", version(),
				cmp.Or(commit, recorded("vcs.revision", 12), "unknown"),
				cmp.Or(date, recorded("vcs.time", 10), "an unknown date"), runtime.Version(),
				runtime.GOOS, runtime.GOARCH)
			return err
		},
	}
}
