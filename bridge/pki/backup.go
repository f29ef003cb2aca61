package pki

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"ztbridge/bridge/sealed"
)

// ErrOverwrite is returned when a restore would replace a key store without being told to.
var ErrOverwrite = errors.New("there is a key store already, and restoring would replace it")

const (
	bundleVersion = 1
	// maxBundle bounds what a restore reads: some tens of thousands of clients.
	maxBundle = 64 << 20
)

// bundle is a whole key store in one document.
type bundle struct {
	Version int               `json:"version"`
	Created time.Time         `json:"created"`
	Files   map[string][]byte `json:"files"`
}

// Export writes the whole key store to w, encrypted with a passphrase in age's armoured format. The
// age program can open it too.
func (s *Store) Export(w io.Writer, passphrase string) error {
	b, err := s.bundle()
	if err != nil {
		return fmt.Errorf("collecting the key store: %w", err)
	}
	text := sealed.Armored(w)
	plain, err := sealed.Seal(text, passphrase, s.work)
	if err != nil {
		return err
	}
	if err := json.NewEncoder(plain).Encode(b); err != nil {
		return fmt.Errorf("writing the backup: %w", err)
	}
	if err := plain.Close(); err != nil {
		return fmt.Errorf("finishing the backup: %w", err)
	}
	if err := text.Close(); err != nil {
		return fmt.Errorf("finishing the backup: %w", err)
	}
	return nil
}

// bundle reads the files of a backup under the lock, so that they are consistent.
func (s *Store) bundle() (bundle, error) {
	b := bundle{Version: bundleVersion, Created: s.now().UTC().Truncate(time.Second),
		Files: map[string][]byte{}}
	err := s.locked(func() error {
		ix, err := s.loadIndex()
		if err != nil {
			return err
		}
		for _, name := range bundled(ix) {
			if b.Files[name], err = s.read(name); err != nil {
				return err
			}
		}
		return nil
	})
	return b, err
}

// bundled lists the files that a backup holds. The server's certificate and the revocation list are
// made again.
func bundled(ix *index) []string {
	names := []string{caFile, cryptFile, indexFile}
	for _, c := range ix.Clients {
		if c.Revoked == nil {
			names = append(names, credentialsFile(c))
		}
	}
	return names
}

// Restored is what a restore has done.
type Restored struct {
	// Kept is the directory of the store that was replaced; empty if there was none.
	Kept string
	// Revoked are the clients in the backup that stay revoked, because they were revoked after it.
	Revoked []string
	// Unknown is the error for which revocations since the backup could not be read; else nil.
	Unknown error
}

// Import restores a key store from an encrypted backup, all or nothing. If there is a store, it
// returns ErrOverwrite unless replace is set, and then keeps the old store beside the new one.
// Clients that the same authority has revoked stay revoked.
func (s *Store) Import(r io.Reader, passphrase string, replace bool) (Restored, error) {
	b, err := open(r, passphrase)
	if err != nil {
		return Restored{}, err
	}
	if err := b.check(); err != nil {
		return Restored{}, fmt.Errorf("checking the backup: %w", err)
	}
	var done Restored
	err = s.locked(func() error {
		there := s.exists()
		if there && !replace {
			return ErrOverwrite
		}
		if there {
			if done, err = s.keepRevoked(b); err != nil {
				return err
			}
		}
		done.Kept, err = s.install(b)
		return err
	})
	if err != nil {
		return Restored{}, fmt.Errorf("restoring the key store: %w", err)
	}
	_, err = s.Ensure()
	return done, err
}

// keepRevoked adds to a bundle the revocations of the present store, if it has the same authority.
func (s *Store) keepRevoked(b bundle) (Restored, error) {
	ca, _, err := parsePair(b.Files[caFile])
	if err != nil {
		return Restored{}, fmt.Errorf("the authority: %w", err)
	}
	// An authority that cannot be read may be the same one.
	if present, err := s.loadPair(caFile); err == nil && !present.cert.Equal(ca.cert) {
		return Restored{}, nil
	}
	ix, err := parseIndex(b.Files[indexFile])
	if err != nil {
		return Restored{}, err
	}
	present, unknown := s.loadIndex()
	if unknown != nil {
		// The revocation list, which is written after the index, may lack the last one.
		present = s.indexOfCRL(ca)
	}
	done := Restored{Revoked: ix.merge(present), Unknown: unknown}
	if b.Files[indexFile], err = ix.encode(); err != nil {
		return Restored{}, err
	}
	keep := bundled(ix)
	maps.DeleteFunc(b.Files,
		func(name string, _ []byte) bool { return !slices.Contains(keep, name) })
	return done, nil
}

// indexOfCRL returns an index with the entries of the revocation list. It is empty unless the
// authority has signed the list.
func (s *Store) indexOfCRL(ca pair) *index {
	ix := newIndex()
	crl, err := s.loadCRL()
	if err != nil || crl.CheckSignatureFrom(ca.cert) != nil {
		return ix
	}
	for _, e := range crl.RevokedCertificateEntries {
		ix.Revoked = append(ix.Revoked, revocation{Serial: formatSerial(e.SerialNumber),
			At: e.RevocationTime.UTC(), Expires: ca.cert.NotAfter.UTC()})
	}
	return ix
}

func open(r io.Reader, passphrase string) (bundle, error) {
	plain, err := sealed.Open(io.LimitReader(r, 2*maxBundle), passphrase)
	if err != nil {
		return bundle{}, err
	}
	var b bundle
	if err := json.NewDecoder(io.LimitReader(plain, maxBundle)).Decode(&b); err != nil {
		return bundle{}, fmt.Errorf("reading the backup: %w", err)
	}
	// Decode may stop before the end, where age notices that a backup was cut short.
	if _, err := io.Copy(io.Discard, plain); err != nil {
		return bundle{}, fmt.Errorf("reading the backup: %w", err)
	}
	return b, nil
}

// check returns an error if the bundle lacks a file of the store, has another one, or is damaged.
func (b bundle) check() error {
	if b.Version != bundleVersion {
		return fmt.Errorf("version %d, this program knows %d", b.Version, bundleVersion)
	}
	ix, err := parseIndex(b.Files[indexFile])
	if err != nil {
		return err
	}
	names := bundled(ix)
	if len(b.Files) != len(names) {
		return fmt.Errorf("%d files, the index asks for %d", len(b.Files), len(names))
	}
	ca, _, err := parsePair(b.Files[caFile])
	if err != nil {
		return fmt.Errorf("the authority: %w", err)
	}
	if _, _, err := cryptServerKeys(b.Files[cryptFile]); err != nil {
		return err
	}
	for _, c := range ix.Clients {
		if c.Revoked != nil {
			continue
		}
		if _, err := credentials(c, ca, b.Files[credentialsFile(c)]); err != nil {
			return err
		}
	}
	return nil
}

// install writes the bundle into a new directory and exchanges it with the store's in one step.
func (s *Store) install(b bundle) (kept string, err error) {
	building, stage := s.dir+".building", s.dir+".restoring"
	// A restore that was stopped after the exchange has left the old store here.
	if _, err := s.keepReplaced(stage); err != nil {
		return "", err
	}
	// A restore that was stopped before it has left nothing of use.
	if err := os.RemoveAll(building); err != nil {
		return "", fmt.Errorf("removing %s: %w", building, err)
	}
	if err := s.disk.mkdir(filepath.Join(building, clientsDir)); err != nil {
		return "", err
	}
	for name, data := range b.Files {
		if err := s.disk.write(filepath.Join(building, name), data); err != nil {
			return "", err
		}
	}
	if err := os.Rename(building, stage); err != nil {
		return "", fmt.Errorf("finishing the restored key store: %w", err)
	}
	if err := os.Mkdir(s.dir, 0o700); err != nil && !errors.Is(err, os.ErrExist) {
		return "", fmt.Errorf("creating %s: %w", s.dir, err)
	}
	if err := s.disk.step("exchange"); err != nil {
		return "", err
	}
	if err := unix.Renameat2(unix.AT_FDCWD, stage, unix.AT_FDCWD, s.dir,
		unix.RENAME_EXCHANGE); err != nil {
		return "", fmt.Errorf("exchanging %s and %s: %w", stage, s.dir, err)
	}
	if err := s.disk.syncDir(filepath.Dir(s.dir)); err != nil {
		return "", err
	}
	return s.keepReplaced(stage)
}

// keepReplaced renames the replaced store to a name with the time, or removes it if it is empty.
func (s *Store) keepReplaced(old string) (string, error) {
	if !New(old).exists() {
		if err := os.RemoveAll(old); err != nil {
			return "", fmt.Errorf("removing %s: %w", old, err)
		}
		return "", nil
	}
	kept := fmt.Sprintf("%s.replaced-%s", s.dir, s.now().UTC().Format("20060102T150405.000"))
	if err := os.Rename(old, kept); err != nil {
		return "", fmt.Errorf("keeping the replaced key store: %w", err)
	}
	return kept, nil
}
