package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
)

var errNoMirror = errors.New(
	"this machine's apt knows no archive whose address ends in /debian; name one with --mirror")

// mirrorOr returns the given mirror without a final slash. If none is given, it returns the one
// that this machine's apt uses.
func mirrorOr(ctx context.Context, given string) (string, error) {
	if given != "" {
		return strings.TrimSuffix(given, "/"), nil
	}
	out, err := exec.CommandContext(ctx, "apt-get", "indextargets", "--format", "$(REPO_URI)",
		"Created-By: Packages").Output()
	if err != nil {
		return "", fmt.Errorf("asking apt for its mirror: %w", err)
	}
	return mirrorIn(string(out))
}

// mirrorIn finds the base of a Debian archive in a list of addresses, one a line.
func mirrorIn(list string) (string, error) {
	for uri := range strings.FieldsSeq(list) {
		if base, ok := strings.CutSuffix(strings.TrimSuffix(uri, "/"), "/debian"); ok {
			return base, nil
		}
	}
	return "", errNoMirror
}
