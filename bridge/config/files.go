package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

// A referenced file larger than this is not what the key asks for.
const maxFileSize = 1 << 20

// readFiles looks after every file that the configuration names. Credentials are read; the others
// only have to be there, and private where they hold a key.
func (d *decoder) readFiles() {
	for _, e := range d.cfg.Egresses {
		if e.OpenVPN == nil {
			continue
		}
		d.mustExist(e.OpenVPN.Profile, e.OpenVPN.ProfilePos, e.OpenVPN.Collection)
		if c := e.OpenVPN.Credentials; c != nil {
			d.readCredentials(c, d.where["credentials "+c.Path])
		}
	}
	if d.cfg.Endpoint != nil && d.cfg.Endpoint.HTTPS.Certificate != "" {
		d.mustExist(d.cfg.Endpoint.HTTPS.Certificate, d.where["certificate"], false)
		if _, err := readPrivate(d.cfg.Endpoint.HTTPS.Key); err != nil {
			d.fileError(d.cfg.Endpoint.HTTPS.Key, d.where["key"], err)
		}
	}
	d.readSecrets()
}

// Files returns the absolute paths of all files that the configuration names, each once, unsorted.
// They have to go with it to another machine.
func (c *Config) Files() []string {
	var all []string
	add := func(path string) {
		if path != "" && !slices.Contains(all, path) {
			all = append(all, path)
		}
	}
	for _, e := range c.Egresses {
		if e.OpenVPN == nil {
			continue
		}
		for _, path := range filesBelow(e.OpenVPN.Profile) {
			add(path)
		}
	}
	if c.Endpoint != nil {
		add(c.Endpoint.HTTPS.Certificate)
	}
	for _, path := range c.secretFiles() {
		add(path)
	}
	return all
}

// secretFiles returns the absolute paths of the named files with passwords and keys. They are
// unsorted and may repeat.
func (c *Config) secretFiles() []string {
	var all []string
	for _, e := range c.Egresses {
		if e.OpenVPN != nil && e.OpenVPN.Credentials != nil {
			all = append(all, e.OpenVPN.Credentials.Path)
		}
	}
	if c.Endpoint != nil && c.Endpoint.HTTPS.Key != "" {
		all = append(all, c.Endpoint.HTTPS.Key)
	}
	if c.Metrics.PasswordFile != "" {
		all = append(all, c.Metrics.PasswordFile)
	}
	return append(all, c.Notify.files()...)
}

// SecretsBelow returns the files in a folder that a provider's profile must not have, as paths
// relative to it. They are the named files with passwords and keys, the profiles, which may hold
// both, and the configuration itself.
func (c *Config) SecretsBelow(dir string) []string {
	secrets := append(c.secretFiles(), c.File)
	for _, e := range c.Egresses {
		if e.OpenVPN != nil && !e.OpenVPN.Collection {
			secrets = append(secrets, e.OpenVPN.Profile)
		}
	}
	var out []string
	for _, path := range secrets {
		if rel, err := filepath.Rel(dir, path); err == nil && filepath.IsLocal(rel) {
			out = append(out, filepath.ToSlash(rel))
		}
	}
	return out
}

// NamedFiles returns the files that the configuration at path names, as Config.Files does. They
// need not exist, and the rest of the configuration need not be right.
func NamedFiles(path string) []string { return readable(path).Files() }

// NamedSecrets returns the files that the configuration at path keeps from a profile beside them,
// as Config.SecretsBelow does. The rest of the configuration need not be right.
func NamedSecrets(path, profile string) []string {
	dir, err := filepath.Abs(filepath.Dir(profile))
	if err != nil {
		return nil
	}
	return readable(path).SecretsBelow(dir)
}

// readable returns what can be read of the configuration at path.
func readable(path string) *Config {
	abs, text, err := readConfig(path)
	if err != nil {
		return &Config{}
	}
	d := newDecoder(abs)
	d.parse(text, nil)
	return d.cfg
}

// mustExist reports a file that is not there; folder: a directory will do.
func (d *decoder) mustExist(path string, at Position, folder bool) {
	info, err := os.Stat(path)
	if err == nil && !info.Mode().IsRegular() && !(folder && info.IsDir()) {
		err = errNotRegular
	}
	switch {
	case err != nil && info != nil && info.IsDir():
		d.fail(at, ErrFile, path+" is a folder", "for the profiles in it write `profiles:`, or name "+
			"one file")
	case err != nil:
		d.fileError(path, at, err)
	}
}

func (d *decoder) readCredentials(c *Credentials, at Position) {
	if err := c.read(); errors.Is(err, ErrValue) {
		d.fail(at, ErrValue, c.Path+" does not hold credentials", credentialsForm)
	} else if err != nil {
		d.fileError(c.Path, at, err)
	} else if c.Username.Reveal() == exampleUser || c.Password.Reveal() == examplePassword {
		d.fail(at, ErrValue, c.Path+" still holds the words that stand for your credentials",
			"write the user name and the password that your provider gave you for OpenVPN, "+
				"each on a line of its own")
	}
}

// The words that stand for credentials in configs/examples/user-data.yaml.
const (
	exampleUser     = "your-user-name"
	examplePassword = "your-password"
)

// credentialsForm says what a credentials file holds.
const credentialsForm = "write the user name on its first line and the password on its second; " +
	"the passphrase of an encrypted private key comes third, or alone"

// ReadCredentials reads a credentials file, which must be private.
func ReadCredentials(path string) (*Credentials, error) {
	c := &Credentials{Path: path}
	if err := c.read(); err != nil {
		return nil, fmt.Errorf("reading credentials: %w", err)
	}
	return c, nil
}

func (c *Credentials) read() error {
	data, err := readPrivate(c.Path)
	if err != nil {
		return err
	}
	text := strings.ReplaceAll(string(data), "\r\n", "\n")
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	if len(lines) > 3 || slices.Contains(lines, "") || strings.ContainsRune(text, 0) {
		return fmt.Errorf("%s: %w: %s", c.Path, ErrValue, credentialsForm)
	}
	if len(lines) >= 2 {
		c.Username, c.Password, lines = NewSecret(lines[0]), NewSecret(lines[1]), lines[2:]
	}
	if len(lines) == 1 {
		c.KeyPassphrase = NewSecret(lines[0])
	}
	return nil
}

func (d *decoder) fileError(path string, at Position, err error) {
	dir := unseenPlace(path, d.file)
	elsewhere := fmt.Sprintf(
		"if it is there: ztbridge.service sees nothing below %s, so move it to %s", dir,
		filepath.Dir(DefaultPath))
	switch {
	case errors.Is(err, ErrInsecureMode):
		d.fail(at, ErrInsecureMode, err.Error(), "run: chmod 600 "+shellQuote(path))
	case errors.Is(err, fs.ErrNotExist) && dir != "":
		d.fail(at, errors.Join(ErrFile, err), path+" does not exist", elsewhere)
	case errors.Is(err, fs.ErrPermission) && dir != "":
		d.fail(at, errors.Join(ErrFile, err),
			fmt.Sprintf("%s cannot be used: %v", path, plain(err)), elsewhere)
	case errors.Is(err, fs.ErrNotExist):
		d.fail(at, errors.Join(ErrFile, err), path+" does not exist",
			"put the file there, or correct its name")
	default:
		d.fail(at, errors.Join(ErrFile, err),
			fmt.Sprintf("%s cannot be used: %v", path, plain(err)), "")
	}
}

var errNotRegular = errors.New("not a regular file")

// readPrivate reads a file that nobody but its owner may read or write. It leaves out the mark that
// some editors put before UTF-8.
func readPrivate(path string) ([]byte, error) {
	data, err := readRegular(path, func(mode fs.FileMode) error {
		if mode&0o077 != 0 {
			return fmt.Errorf("%s has mode %04o: %w", path, mode, ErrInsecureMode)
		}
		return nil
	})
	return bytes.TrimPrefix(data, []byte("\ufeff")), err
}

// readRegular reads a regular file whose mode check allows. The check is made on the open file, so
// that it cannot be exchanged in between.
func readRegular(path string, check func(mode fs.FileMode) error) ([]byte, error) {
	// O_NONBLOCK: opening a FIFO must not wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	if err := check(info.Mode().Perm()); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err == nil && len(data) > maxFileSize {
		err = fmt.Errorf("larger than %d bytes", maxFileSize)
	}
	return data, err
}

// plain strips the operation and the path that fs.PathError repeats.
func plain(err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		return pathErr.Err
	}
	return err
}

func shellQuote(path string) string {
	if strings.Trim(path,
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+") == "" {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}

// filesBelow returns the regular files in a folder and below, or the path itself where it is none.
func filesBelow(path string) []string {
	if info, err := os.Stat(path); err != nil || !info.IsDir() {
		return []string{path}
	}
	var out []string
	_ = filepath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			out = append(out, name)
		}
		return nil
	})
	return out
}
