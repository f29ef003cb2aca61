package network

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"

	"ztbridge/bridge/api"
)

const (
	tokenName = "zerotier-token" // in the state directory
	tokenMax  = 4096             // bytes
)

// token returns the API token: the one given, else the kept one. It is empty if there is none. kept
// reports whether the state directory holds it already.
func (s *Session) token() (token string, kept bool, err error) {
	if s.options.Token != "" {
		return s.options.Token, false, checkToken(s.options.Token)
	}
	token, err = ReadToken(tokenPath(s.options.StateDir))
	if errors.Is(err, fs.ErrNotExist) {
		return "", false, nil
	}
	return token, true, err
}

func tokenPath(stateDir string) string { return filepath.Join(stateDir, tokenName) }

// ReadToken returns the first line of a file that only its owner may read.
func ReadToken(path string) (string, error) {
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
	if checkToken(line) != nil {
		return "", fmt.Errorf("reading the token: %s does not begin with a line that is one", path)
	}
	return line, nil
}

// checkToken refuses what could not be a header's value, without showing it.
func checkToken(token string) error {
	if token == "" || len(token) > tokenMax ||
		strings.ContainsFunc(token, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("this is not an API token: it has spaces or other characters")
	}
	return nil
}

// keepToken stores a token that a controller took, readable by root alone.
func keepToken(stateDir, token string) error {
	err := os.MkdirAll(stateDir, 0o700)
	if err == nil {
		err = renameio.WriteFile(tokenPath(stateDir), []byte(token+"\n"), 0o600,
			renameio.WithTempDir(stateDir))
	}
	if err != nil {
		return fmt.Errorf("keeping the token: %w", err)
	}
	return nil
}

// ForgetToken removes the kept token, if there is one. It stays valid at its controller.
func ForgetToken(stateDir string) error {
	err := os.Remove(tokenPath(stateDir))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forgetting the token: %w", err)
	}
	return nil
}
