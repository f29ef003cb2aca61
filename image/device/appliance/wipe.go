package appliance

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// wipePrefix begins the name of a file that is being wiped. After a power cut it is no longer taken
// for a user's file. It begins with what findFiles passes over.
const wipePrefix = "_wipe-"

// wipe overwrites files before it removes them. A flash card may keep old blocks anyway; a reader
// of the plain file system will not find them. Each loses its name first: a power cut in between
// would leave zeros under it, which the next start would take over.
func (s *Setup) wipe(files []found) error {
	for _, f := range files {
		doomed := filepath.Join(s.ConfigDir, wipePrefix+f.name)
		if err := errors.Join(os.Rename(f.path, doomed), syncPath(s.ConfigDir)); err != nil {
			return fmt.Errorf("wiping %s: %w", f.name, err)
		}
		if err := overwrite(doomed); err != nil {
			return fmt.Errorf("wiping %s: %w", f.name, err)
		}
	}
	return nil
}

// sweep ends what a power cut has interrupted.
func (s *Setup) sweep() error {
	left, err := filepath.Glob(filepath.Join(s.ConfigDir, wipePrefix+"*"))
	if err != nil || len(left) == 0 {
		return err
	}
	return s.writable(func() error {
		for _, name := range left {
			if err := overwrite(name); err != nil {
				return fmt.Errorf("wiping %s: %w", filepath.Base(name), err)
			}
		}
		return nil
	})
}

func overwrite(name string) error {
	file, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	info, err := file.Stat()
	if err == nil {
		_, err = file.Write(make([]byte, info.Size()))
	}
	return errors.Join(err, file.Sync(), file.Close(), os.Remove(name))
}

var errDamaged = errors.New(
	"it holds zero bytes: it was not written to its end, or is no plain text (UTF-8); write it " +
		"again")

// damaged reports whether a file was cut off by a power cut. Such files are full of zeros. All of
// these files are text but .p12, which begins with another byte.
func damaged(name string, data []byte) bool {
	if strings.HasSuffix(strings.ToLower(name), ".p12") {
		return bytes.HasPrefix(data, []byte{0})
	}
	return bytes.IndexByte(data, 0) >= 0
}
