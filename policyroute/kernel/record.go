package kernel

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/google/renameio/v2"
	"golang.org/x/sys/unix"
)

// record keeps in a file how the host was before our first change. Its entries are never
// overwritten, so that a second start does not take our own values for the original ones. It
// belongs to one boot and one network namespace: in any other there is nothing to restore.
type record struct {
	path string
	data recordData
	// unsaved reports whether the file lacks something that data has.
	unsaved bool
	// absent are the parameters that were wanted and that this kernel lacks, with what was wanted.
	absent map[string]string
}

// errNoRecord reports that nothing may be changed that would have to be put back.
var errNoRecord = errors.New("saving the record of original values: no file was given")

type recordData struct {
	Boot    string     `json:"boot"`
	Sysctls []original `json:"sysctls,omitempty"`
	// Absent are the objects that iptables would create with our first chain. "ip" stands for table
	// filter of that family, "ip FORWARD" for a chain in it. Nil until looked for.
	Absent []string `json:"absent"`
	// Legacy are the families in which legacy iptables has made our chains. Only that variant can
	// see them.
	Legacy []string `json:"legacy,omitempty"`
}

// original is a parameter as it was found.
type original struct {
	Key   string `json:"key"`
	Value string `json:"value"`
	// Also are the parameters that the kernel changes whenever this one is written.
	Also map[string]string `json:"also,omitempty"`
	// All is the original value of the parameter for all interfaces that decides this one's.
	All string `json:"all,omitempty"`
}

func openRecord(path string) (*record, error) {
	boot, err := bootID()
	if err != nil {
		return nil, fmt.Errorf("identifying the boot: %w", err)
	}
	r := &record{path: path, data: recordData{Boot: boot}}
	if path == "" {
		return r, nil
	}
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return r, nil
	}
	if err != nil {
		return nil, fmt.Errorf("reading the record of original values: %w", err)
	}
	var found recordData
	if err := json.Unmarshal(text, &found); err != nil {
		return nil, fmt.Errorf("reading the record of original values %s: %w", path, err)
	}
	if found.Boot == boot {
		r.data = found
	}
	return r, nil
}

// save writes the record to disk before the change that it is about.
func (r *record) save() error {
	if r.path == "" {
		return errNoRecord
	}
	text, err := json.MarshalIndent(r.data, "", "\t")
	if err != nil {
		return fmt.Errorf("saving the record of original values: %w", err)
	}
	if err := renameio.WriteFile(r.path, append(text, '\n'), 0o600,
		renameio.WithTempDir(filepath.Dir(r.path))); err != nil {
		return fmt.Errorf("saving the record of original values: %w", err)
	}
	r.unsaved = false
	return nil
}

// trySave saves the record, or keeps it in memory alone while the disk is full: traffic depends on
// the change that it is about. Until it can be saved, only this process can put the value back; one
// that is back already may be put back again.
func (r *record) trySave() error {
	err := r.save()
	if errors.Is(err, unix.ENOSPC) {
		r.unsaved = true
		return nil
	}
	return err
}

// remove forgets everything.
func (r *record) remove() error {
	r.data = recordData{Boot: r.data.Boot}
	if r.path == "" {
		return nil
	}
	if err := os.Remove(r.path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("removing the record of original values: %w", err)
	}
	return nil
}

// bootID names this boot and this thread's network namespace.
func bootID() (string, error) {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return "", err
	}
	var ns unix.Stat_t
	if err := unix.Stat("/proc/thread-self/ns/net", &ns); err != nil {
		return "", err
	}
	return fmt.Sprintf("%s net:[%d]", strings.TrimSpace(string(boot)), ns.Ino), nil
}
