package appliance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// findFiles looks at the top of the FAT partition. Names are compared without case, as FAT does; a
// file that the configuration names gets the name that it has there.
func (s *Setup) findFiles() ([]found, error) {
	entries, err := os.ReadDir(s.ConfigDir)
	if err != nil {
		return nil, fmt.Errorf("listing the configuration partition: %w", err)
	}
	named := s.named(entries)
	var files []found
	for _, e := range entries {
		if !e.Type().IsRegular() || strings.HasPrefix(e.Name(), ".") ||
			strings.HasPrefix(e.Name(), "_") {
			continue // ._name and the like are what some systems leave beside each file
		}
		lower := strings.ToLower(e.Name())
		f := found{path: filepath.Join(s.ConfigDir, e.Name()), name: e.Name()}
		spelling, isNamed := named[lower]
		switch {
		case lower == configName:
			f.name, f.daemon = configName, true
		case slices.Contains(systemNames, lower):
			f.name = lower
		case isNamed && !belongsToImage(lower):
			f.name, f.daemon = spelling, true
		case strings.HasSuffix(lower, backupSuffix), lower == passphraseName:
			f.backup = true
		case hasSuffix(lower, daemonSuffixes):
			f.daemon = true
		case strings.HasSuffix(lower, networkSuffix):
		default:
			continue
		}
		files = append(files, f)
	}
	slices.SortFunc(files, func(a, b found) int { return strings.Compare(a.name, b.name) })
	return files, nil
}

// named returns the files beside the configuration that it names, by their lower-case names. It
// reads the new configuration, or without one the present one.
func (s *Setup) named(entries []os.DirEntry) map[string]string {
	config := filepath.Join(s.EtcDir, configName)
	for _, e := range entries {
		if e.Type().IsRegular() && strings.EqualFold(e.Name(), configName) {
			config = filepath.Join(s.ConfigDir, e.Name())
		}
	}
	names := map[string]string{}
	if s.Named == nil {
		return names
	}
	for _, file := range s.Named(config) {
		if filepath.Dir(file) == filepath.Dir(config) {
			names[strings.ToLower(filepath.Base(file))] = filepath.Base(file)
		}
	}
	return names
}

// belongsToImage reports whether a file is needed to start the box, or is ours. A mistake in a
// configuration must not wipe it.
func belongsToImage(lower string) bool {
	ours := []string{errorFile, codeFile, "readme.txt", "config.txt", "cmdline.txt"}
	return slices.Contains(ours, lower) ||
		hasSuffix(lower, []string{".bin", ".elf", ".dat", ".dtb", ".efi", ".example"})
}

func hasSuffix(name string, suffixes []string) bool {
	return slices.ContainsFunc(suffixes, func(s string) bool { return strings.HasSuffix(name, s) })
}

// hinted adds to an error about the configuration which files were probably meant.
func (s *Setup) hinted(err error) error {
	if hints := s.meant(); hints != "" &&
		(errors.Is(err, errNoConfig) || errors.Is(err, errBadConfig)) {
		return fmt.Errorf("%w%s", err, hints)
	}
	return err
}

// meant returns a hint for each file whose name is probably a mistake. Editors and systems that
// hide file name extensions make ztbridge.yaml.txt.
func (s *Setup) meant() (hints string) {
	entries, _ := os.ReadDir(s.ConfigDir) // no hint at worst
	for _, e := range entries {
		lower := strings.ToLower(e.Name())
		meant := strings.TrimSuffix(lower, ".txt")
		if lower == "ztbridge.yml" {
			meant = configName
		}
		if meant != lower && (meant == configName || hasSuffix(meant, daemonSuffixes)) {
			hints += fmt.Sprintf(
				"\nhint: if %s is meant to be %s, rename it (Windows hides the end of names)",
				e.Name(), meant)
		}
	}
	return hints
}
