package appliance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// configName is the daemon's configuration file, on the FAT partition and in its place.
const configName = "ztbridge.yaml"

// daemonSuffixes are what files of a configuration usually end in: profiles, credentials,
// certificates and keys. They are taken over, and so wiped, whether or not a configuration names
// them; what it names may be called otherwise.
var daemonSuffixes = []string{".ovpn", ".auth", ".crt", ".pem", ".key", ".p12"}

// systemNames are files for the box itself: who may log in, Wi-Fi, and a fixed address.
var systemNames = []string{"authorized_keys", "wpa_supplicant.conf"}

const networkSuffix = ".network"

// maxFile bounds what is copied: none of these files is large, and the data partition is small.
const maxFile = 1 << 20

// found is a user's file on the FAT partition.
type found struct {
	path   string
	name   string // in its new place
	daemon bool   // for the daemon; else for the box
	backup bool   // a backup of a box, or the passphrase to one
}

// errNoConfig is what a fresh box says.
var errNoConfig = errors.New("there is no " + configName +
	" yet\nhint: on this partition, copy ztbridge.yaml.example to " + configName +
	", edit it, add your .ovpn file, and start the box again")

// MerelyUnconfigured reports whether all that Perform has to complain of is that nobody has brought
// a configuration yet.
func MerelyUnconfigured(err error) bool {
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		return !slices.ContainsFunc(joined.Unwrap(),
			func(e error) bool { return !MerelyUnconfigured(e) })
	}
	if inner := errors.Unwrap(err); inner != nil {
		return MerelyUnconfigured(inner)
	}
	return errors.Is(err, errNoConfig)
}

// errBadConfig goes before what the daemon says of a configuration that it refuses.
var errBadConfig = errors.New("the configuration has an error")

// provision takes the user's files over. Those for the box itself come first and stand alone: a
// mistake in the configuration must not lock out the key or the Wi-Fi by which it could be
// repaired. The daemon's are checked as a whole and taken over all or none. Only what is safe on
// the data partition is wiped from the FAT partition. Returned is also what the daemon remarks of
// files that were taken over.
func (s *Setup) provision(ctx context.Context) (remarks string, err error) {
	if err := s.sweep(); err != nil {
		return "", err
	}
	files, err := s.findFiles()
	if err != nil {
		return "", err
	}
	var daemon, system, backups []found
	for _, f := range files {
		switch {
		case f.backup:
			backups = append(backups, f)
		case f.daemon:
			daemon = append(daemon, f)
		default:
			system = append(system, f)
		}
	}
	systemErr := s.takeSystemFiles(system)
	if len(backups) > 0 {
		// A backup that is refused leaves a box that waits for its owner waiting, with a new code.
		begun := s.unconfigured() && exists(filepath.Join(s.EtcDir, configName))
		return "", errors.Join(systemErr, s.takeBackup(ctx, backups, daemon),
			s.offerPage(ctx, begun))
	}
	remarks, err = s.takeDaemonFiles(ctx, daemon)
	if s.InCloud && errors.Is(err, errNoConfig) {
		err = nil // not yet
	}
	fresh := len(daemon) == 0 && errors.Is(err, errNoConfig)
	if fresh && s.meant() == "" {
		err = nil // its page leads on
	}
	return remarks, errors.Join(systemErr, s.hinted(err), s.offerPage(ctx, fresh))
}

func (s *Setup) takeSystemFiles(files []found) error {
	if len(files) == 0 {
		return nil
	}
	dir := filepath.Join(s.DataDir, systemDir)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return fmt.Errorf("making %s: %w", dir, err)
	}
	var taken []found
	var problems error
	for _, f := range files {
		if err := replaceFile(f.path, filepath.Join(dir, f.name)); err != nil {
			problems = errors.Join(problems, err)
			continue
		}
		taken = append(taken, f)
	}
	if len(taken) == 0 {
		return problems
	}
	return errors.Join(problems, s.taken(taken))
}

func (s *Setup) takeDaemonFiles(ctx context.Context, files []found) (remarks string, err error) {
	if len(files) == 0 {
		if s.unconfigured() {
			return "", errNoConfig
		}
		return "", nil
	}
	remarks, err = s.adopt(ctx, func(staging string) error {
		for _, f := range files {
			if err := copyFile(f.path, filepath.Join(staging, f.name)); err != nil {
				return err
			}
		}
		return nil
	})
	if errors.Is(err, errBadConfig) {
		return "",
			fmt.Errorf(
				"the files on this partition were not taken over, since %w\nhint: correct it "+
					"here and start the box again", err)
	}
	if err != nil {
		return "", err
	}
	return remarks, s.taken(files)
}

// adopt checks the present configuration with the new files over it, and installs it, all or
// nothing. It returns what the daemon remarks of it.
func (s *Setup) adopt(ctx context.Context,
	add func(staging string) error) (remarks string, err error) {
	staging := filepath.Join(s.DataDir, "incoming")
	if err := os.RemoveAll(staging); err != nil {
		return "", fmt.Errorf("clearing the staging folder: %w", err)
	}
	defer os.RemoveAll(staging)
	if err := os.MkdirAll(staging, 0o700); err != nil {
		return "", fmt.Errorf("staging the configuration: %w", err)
	}
	if err := copyFlat(s.EtcDir, staging); err != nil {
		return "", err
	}
	if s.unconfigured() { // what the box has begun with is nobody's configuration
		if err := os.RemoveAll(filepath.Join(staging, configName)); err != nil {
			return "", fmt.Errorf("staging the configuration: %w", err)
		}
	}
	if err := add(staging); err != nil {
		return "", err
	}
	if remarks, err = s.check(ctx, staging); err != nil {
		return "", err
	}
	// Who has brought a configuration needs no claim to be the owner. If the power goes in between,
	// the next start takes the same files over.
	if err := s.withdrawClaim(ctx); err != nil {
		return "", err
	}
	return remarks, s.install(staging)
}

// taken waits until the files are on the medium before their originals go.
func (s *Setup) taken(files []found) error {
	unix.Sync()
	s.Log.Info("files taken over", "files", names(files))
	s.Console("taken over from the boot partition: " + names(files) + "\n")
	return s.writable(func() error { return s.wipe(files) })
}

func names(files []found) string {
	all := make([]string, 0, len(files))
	for _, f := range files {
		all = append(all, f.name)
	}
	return strings.Join(all, ", ")
}

const systemDir = "system" // below the data partition

// check asks the daemon itself, which alone knows what it accepts.
func (s *Setup) check(ctx context.Context, staging string) (remarks string, err error) {
	file := filepath.Join(staging, configName)
	if _, err := os.Stat(file); errors.Is(err, os.ErrNotExist) {
		return "", errNoConfig
	}
	if remarks, err = s.Check(ctx, file); err != nil {
		return "", fmt.Errorf("%w:\n%s", errBadConfig,
			strings.ReplaceAll(err.Error(), staging+"/", ""))
	}
	return strings.ReplaceAll(remarks, staging+"/", ""), nil
}

// install moves the checked files to their place. The configuration itself comes last, so that it
// never names a file that is not there yet.
func (s *Setup) install(staging string) error {
	entries, err := os.ReadDir(staging)
	if err != nil {
		return fmt.Errorf("installing the configuration: %w", err)
	}
	isConfig := func(e os.DirEntry) bool { return e.Name() == configName }
	if i := slices.IndexFunc(entries, isConfig); i >= 0 {
		entries = append(slices.Delete(slices.Clone(entries), i, i+1), entries[i])
	}
	for _, e := range entries {
		if err := replaceFile(filepath.Join(staging, e.Name()),
			filepath.Join(s.EtcDir, e.Name())); err != nil {
			return err
		}
	}
	return nil
}

func replaceFile(from, to string) error {
	return replace(to, func(fresh string) error { return copyFile(from, fresh) })
}

// replace lets write make a file beside the target, then renames it. After a power cut the old
// content or the new one is there.
func replace(to string, write func(fresh string) error) error {
	fresh := filepath.Join(filepath.Dir(to), ".new-"+filepath.Base(to))
	defer os.Remove(fresh)
	if err := write(fresh); err != nil {
		return err
	}
	if err := os.Rename(fresh, to); err != nil {
		return fmt.Errorf("installing %s: %w", filepath.Base(to), err)
	}
	return nil
}

func copyFlat(from, to string) error {
	entries, err := os.ReadDir(from)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("reading %s: %w", from, err)
	}
	for _, e := range entries {
		if e.Type().IsRegular() && !strings.HasPrefix(e.Name(), ".") {
			if err := copyFile(filepath.Join(from, e.Name()),
				filepath.Join(to, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

func copyFile(from, to string) error {
	data, err := readWhole(from)
	if err == nil {
		err = writeSync(to, data)
	}
	if err != nil {
		return fmt.Errorf("copying %s: %w", filepath.Base(from), err)
	}
	return nil
}

// readWhole reads a file of a user's, unless it is too large or was cut off.
func readWhole(file string) ([]byte, error) {
	info, err := os.Stat(file)
	if err != nil {
		return nil, err
	}
	if info.Size() > maxFile {
		return nil, fmt.Errorf("it has %d bytes, more than any such file needs", info.Size())
	}
	data, err := os.ReadFile(file)
	if err == nil && damaged(file, data) {
		err = errDamaged
	}
	return data, err
}
