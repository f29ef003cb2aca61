package appliance

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// A backup of another box, and the file with its passphrase, on the FAT partition.
const (
	backupSuffix   = ".age"
	passphraseName = "passphrase.txt"
)

// takeBackup makes this box the one of a backup on the FAT partition, and wipes backup and
// passphrase. On an error both stay, for a person to correct, and the box is as it was.
func (s *Setup) takeBackup(ctx context.Context, files, others []found) error {
	var backups []found
	passphrase := ""
	for _, f := range files {
		if strings.EqualFold(f.name, passphraseName) {
			passphrase = f.path
		} else {
			backups = append(backups, f)
		}
	}
	switch {
	case len(backups) == 0:
		return fmt.Errorf("there is a %s, but no backup (a file that ends in %s)\nhint: copy the "+
			"backup beside it, or remove it", passphraseName, backupSuffix)
	case len(backups) > 1:
		return fmt.Errorf("there are several backups: %s\nhint: leave the one to restore",
			names(backups))
	case len(others) > 0:
		return fmt.Errorf("there are a backup, %s, and files of a configuration: %s\nhint: leave "+
			"the backup or the others", backups[0].name, names(others))
	case passphrase == "":
		return fmt.Errorf("there is a backup, %s, without its passphrase\nhint: write it into %s "+
			"beside it, in one line; it is wiped when it was used", backups[0].name, passphraseName)
	}
	// A box that merely waits for its owner is as good as new.
	if s.unconfigured() {
		err := errors.Join(s.withdrawClaim(ctx), os.RemoveAll(filepath.Join(s.EtcDir, configName)))
		if err != nil {
			return fmt.Errorf("making room for the backup: %w", err)
		}
	}
	err := s.Restore(ctx, backups[0].path, passphrase, filepath.Join(s.DataDir, systemDir))
	if err != nil {
		return fmt.Errorf("the backup %s was not restored, and nothing was changed:\n%w",
			backups[0].name, err)
	}
	return s.taken(files)
}

// restoreBackup has the daemon's own program do it.
func restoreBackup(ctx context.Context, file, passphraseFile, systemDir string) error {
	out, err := exec.CommandContext(ctx, "/usr/bin/ztbridge", "restore", "--early",
		"--passphrase-file", passphraseFile, "--system-dir", systemDir, file).CombinedOutput()
	if err != nil {
		text := strings.ReplaceAll(strings.TrimSpace(string(out)), "ztbridge: ", "")
		return errors.Join(errors.New(text), err)
	}
	return nil
}
