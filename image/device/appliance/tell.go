package appliance

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// errorFile is where a person who takes the card to a PC finds out why the box does not work.
const errorFile = "ztbridge-error.txt"

// tell leaves the problem, and the remarks about good files, where people look. That is the FAT
// partition, the console and the notice that `ztbridge status` shows. When there is nothing to say,
// it removes what was said before.
func (s *Setup) tell(remarks string, problem error) error {
	text := remarks
	if problem != nil {
		text += problem.Error() + "\n"
		s.Console("error: " + problem.Error() + "\n")
	} else if text != "" {
		s.Console(text)
	}
	return errors.Join(s.notify(text), s.writeErrorFile(text))
}

func (s *Setup) notify(text string) error {
	if text == "" {
		return nil // the notice lives in RAM: there is no old one
	}
	if err := os.MkdirAll(filepath.Dir(s.Notice), 0o755); err != nil {
		return fmt.Errorf("leaving a notice: %w", err)
	}
	if err := os.WriteFile(s.Notice, []byte(text), 0o644); err != nil {
		return fmt.Errorf("leaving a notice: %w", err)
	}
	return nil
}

// writeErrorFile makes the file on the FAT partition say this and nothing else.
func (s *Setup) writeErrorFile(text string) error { return s.writeFile(errorFile, text) }

// writeFile makes a file on the FAT partition say this and nothing else; nothing to say removes it.
// The partition is written to only when something changes.
func (s *Setup) writeFile(name, text string) error {
	file := filepath.Join(s.ConfigDir, name)
	old, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) && text == "" || err == nil && text != "" &&
		string(old) == dos(text) {
		return nil
	}
	return s.writable(func() error {
		if text == "" {
			return os.Remove(file)
		}
		return writeSync(file, []byte(dos(text)))
	})
}

// dos ends lines as every editor of every system shows them.
func dos(text string) string {
	return strings.ReplaceAll(text, "\n", "\r\n")
}

func undos(text string) string {
	return strings.ReplaceAll(text, "\r\n", "\n")
}
