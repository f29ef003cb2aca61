package appliance

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// beginning is the configuration of a box that has got none yet. It lets nothing through and serves
// the page, on which the owner adds the rest.
//
//go:embed begin.yaml
var beginning []byte

// codeFile holds the code of a box without an owner, for people who read the card on a PC.
const codeFile = "ztbridge-code.txt"

const codeText = `This box has no owner yet. Open its page in a browser on the same network:

    http://ztbridge.local

if it is a Raspberry Pi, or http:// and the address that the router shows for it. In the first 30
minutes after its first start no code is asked for there; later it is:

    %s

Whoever has this code can make the box theirs, as long as it has no owner. It is worth nothing
afterwards.
`

// unconfigured reports whether nobody has brought a configuration: there is none, or that which the
// box begins with.
func (s *Setup) unconfigured() bool {
	text, err := os.ReadFile(filepath.Join(s.EtcDir, configName))
	return errors.Is(err, os.ErrNotExist) || err == nil && bytes.Equal(text, beginning)
}

// offerPage lets the page of a box without an owner be claimed, and shows by which code. A fresh
// box gets its configuration to begin with after that, so that an interrupted start does it again.
func (s *Setup) offerPage(ctx context.Context, fresh bool) error {
	config := filepath.Join(s.EtcDir, configName)
	fresh = fresh && !exists(config)
	if !fresh && !exists(s.ClaimFile) {
		return s.writeFile(codeFile, "")
	}
	var flags []string
	if fresh {
		flags = []string{"--open"}
	}
	code, err := s.Code(ctx, flags...)
	if err != nil {
		return fmt.Errorf("making the code of the page: %w", err)
	}
	s.Console("this box has no owner yet: open http:// and its address in a browser on the " +
		"same network, or on a Raspberry Pi http://ztbridge.local.\nIts code is " + code + "\n")
	if err := s.writeFile(codeFile, fmt.Sprintf(codeText, code)); err != nil || !fresh {
		return err
	}
	return replace(config, func(fresh string) error { return writeSync(fresh, beginning) })
}

// withdrawClaim has nobody claim the page any more.
func (s *Setup) withdrawClaim(ctx context.Context) error {
	if !exists(s.ClaimFile) {
		return nil
	}
	if _, err := s.Code(ctx, "--withdraw"); err != nil {
		return fmt.Errorf("withdrawing the code of the page: %w", err)
	}
	return nil
}

// pageCode asks the daemon's own program.
func pageCode(ctx context.Context, flags ...string) (string, error) {
	args := append([]string{"page", "code"}, flags...)
	out, err := exec.CommandContext(ctx, "/usr/bin/ztbridge", args...).Output()
	if exit := new(exec.ExitError); errors.As(err, &exit) {
		err = fmt.Errorf("%w: %s", err, strings.TrimSpace(string(exit.Stderr)))
	}
	return strings.TrimSpace(string(out)), err
}
