package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"golang.org/x/term"

	"ztbridge/bridge/api"
)

const (
	tokenName = "zerotier-token" // in the state directory
	tokenMax  = 4096             // bytes
)

// token returns the API token: from the flag's file, else the kept one. It is empty if there is
// none. kept reports whether the state directory holds it already.
func (p *program) token(o *networkOptions) (token string, kept bool, err error) {
	if o.tokenFile != "" {
		token, err = readToken(o.tokenFile)
		return token, false, err
	}
	token, err = readToken(p.tokenPath())
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	return token, true, err
}

// askToken lets a person type the token. It is empty if there is no terminal: nobody can answer.
func askToken() (string, error) {
	if !term.IsTerminal(int(os.Stdin.Fd())) {
		return "", nil
	}
	tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0)
	if err != nil {
		return "", nil //nolint:nilerr // the steps for the web page are printed instead
	}
	defer tty.Close()
	token, err := prompt(tty, "API token of ZeroTier Central (empty: show the steps for its web "+
		"page): ")
	return strings.TrimSpace(token), err
}

func (p *program) tokenPath() string { return filepath.Join(p.stateDir, tokenName) }

// readToken reads the first line of a file that only its owner may read.
func readToken(path string) (string, error) {
	info, err := os.Stat(path)
	if err == nil && info.Mode().IsRegular() && info.Mode().Perm()&0o077 != 0 {
		return "", &api.HintedError{
			Err: fmt.Errorf("reading the token: %s can be read by others (mode %04o)", path,
				info.Mode().Perm()),
			Hint: "chmod 600 " + path}
	}
	var raw []byte
	if err == nil {
		raw, err = os.ReadFile(path)
	}
	if err != nil {
		return "", fmt.Errorf("reading the token: %w", err)
	}
	line, _, _ := strings.Cut(string(raw[:min(len(raw), tokenMax)]), "\n")
	line = strings.TrimSpace(line)
	// It becomes a header's value: refuse what could not be one, without showing it.
	if line == "" || strings.ContainsFunc(line, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return "", fmt.Errorf("reading the token: %s does not begin with a line that is one", path)
	}
	return line, nil
}

// keepToken stores a token that a controller took.
func (p *program) keepToken(token string) error {
	err := os.MkdirAll(p.stateDir, 0o700)
	if err == nil {
		err = renameio.WriteFile(p.tokenPath(), []byte(token+"\n"), 0o600,
			renameio.WithTempDir(p.stateDir))
	}
	if err != nil {
		return fmt.Errorf("keeping the token: %w", err)
	}
	p.say("the token is kept in %s", p.tokenPath())
	return nil
}
