package web

import (
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/google/renameio/v2"
	"golang.org/x/crypto/argon2"
)

// Role says what a person may do on the page.
type Role string

// The roles.
const (
	Owner  Role = "owner"  // sees and does everything
	Viewer Role = "viewer" // sees everything, changes nothing
	// Member is a device that has not logged in: it sees itself, and chooses its own exit. There
	// is no password for it.
	Member Role = "member"
)

// ParseRole reads the name of a role.
func ParseRole(text string) (Role, error) {
	switch r := Role(text); r {
	case Owner, Viewer:
		return r, nil
	}
	return "", fmt.Errorf("%q is not a role: write %s or %s", text, Owner, Viewer)
}

const (
	accountsFile = "accounts.json"
	minPassword  = 10
	maxPassword  = 256
)

// ErrPassword is returned for a password that cannot be used.
var ErrPassword = fmt.Errorf("a password has %d to %d characters", minPassword, maxPassword)

// Costs of argon2id as OWASP recommends them for 9 MiB, which the daemon's limit of memory allows.
const (
	argonTime    = 4
	argonMemory  = 9 << 10 // KiB
	argonThreads = 1
	saltLen      = 16
	keyLen       = 32
)

// secret is a hashed password. Its costs are part of it, so that they can be raised later.
type secret struct {
	Kind string `json:"kind"` // the algorithm and its costs
	Salt []byte `json:"salt"`
	Key  []byte `json:"key"`
}

// kindNow is the only kind there is.
var kindNow = fmt.Sprintf("argon2id t=%d m=%d p=%d", argonTime, argonMemory, argonThreads)

// Accounts are the passwords of the page, in a directory of their own. Safe for concurrent use.
type Accounts struct {
	dir     string
	hashing sync.Mutex // one at a time, so that many logins do not need memory each
	clock   bootClock
}

// OpenAccounts returns the accounts in dir, which need not exist yet.
func OpenAccounts(dir string) *Accounts { return &Accounts{dir: dir, clock: kernelClock} }

// Set gives a role a password, in place of the one it had. Sessions of the role end by it. Nobody
// can claim the page any more once its owner has one.
func (a *Accounts) Set(role Role, password string) error {
	return a.locked(func() error { return a.set(role, password) })
}

// set is Set for who holds the lock.
func (a *Accounts) set(role Role, password string) error {
	if !usable(password) {
		return fmt.Errorf("setting the password of %s: %w", role, ErrPassword)
	}
	all, err := a.read()
	if err != nil {
		return err
	}
	salt := make([]byte, saltLen)
	_, _ = rand.Read(salt) // never fails
	all[role] = secret{kindNow, salt, a.key(password, salt)}
	if err := a.write(all); err != nil || role != Owner {
		return err
	}
	return a.spend()
}

// usable reports whether a password may be set.
func usable(password string) bool {
	n := len([]rune(password))
	return n >= minPassword && n <= maxPassword
}

// Remove takes a role's password away: nobody can log in as it. It is nil when there was none.
func (a *Accounts) Remove(role Role) error {
	return a.locked(func() error {
		all, err := a.read()
		if err != nil {
			return err
		}
		delete(all, role)
		return a.write(all)
	})
}

// Claimed reports whether there is an owner.
func (a *Accounts) Claimed() (bool, error) {
	all, err := a.read()
	_, ok := all[Owner]
	return ok, err
}

// Check returns the role whose password this is, and the password's stamp; ok is false where it is
// nobody's.
func (a *Accounts) Check(password string) (role Role, stamp string, ok bool, err error) {
	all, err := a.read()
	if err != nil || len(password) > 4*maxPassword {
		return "", "", false, err
	}
	for _, r := range []Role{Owner, Viewer} {
		s, exists := all[r]
		if !exists || s.Kind != kindNow {
			continue
		}
		if subtle.ConstantTimeCompare(a.key(password, s.Salt), s.Key) == 1 {
			return r, s.stamp(), true, nil
		}
	}
	return "", "", false, nil
}

// key hashes a password.
func (a *Accounts) key(password string, salt []byte) []byte {
	a.hashing.Lock()
	defer a.hashing.Unlock()
	return argon2.IDKey([]byte(password), salt, argonTime, argonMemory, argonThreads, keyLen)
}

// stamp names a password without telling anything of it: the salt is drawn again with each.
func (s secret) stamp() string { return base64.RawStdEncoding.EncodeToString(s.Salt) }

// current returns the stamp of a role's password, empty if it has none.
func (a *Accounts) current(role Role) string {
	all, err := a.read()
	if err != nil {
		return ""
	}
	return all[role].stamp()
}

func (a *Accounts) read() (map[Role]secret, error) {
	all := map[Role]secret{}
	data, err := os.ReadFile(filepath.Join(a.dir, accountsFile))
	if errors.Is(err, fs.ErrNotExist) {
		return all, nil
	}
	if err == nil {
		err = json.Unmarshal(data, &all)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the passwords of the page: %w", err)
	}
	return all, nil
}

func (a *Accounts) write(all map[Role]secret) error {
	if err := a.save(accountsFile, all); err != nil {
		return fmt.Errorf("writing the passwords of the page: %w", err)
	}
	return nil
}

// save writes a file of the accounts' own, whole or not at all.
func (a *Accounts) save(name string, v any) error {
	data, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return renameio.WriteFile(filepath.Join(a.dir, name), data, 0o600)
}

// letters of generated passwords: none that is taken for another.
const letters = "abcdefghjkmnpqrstuvwxyz23456789"

// NewPassword returns a random password of 4 groups of 5 characters, 99 bits.
func NewPassword() string {
	groups := make([]string, 4)
	for i := range groups {
		groups[i] = randomText(5)
	}
	return strings.Join(groups, "-")
}

// randomText returns n random letters and digits.
func randomText(n int) string {
	text := make([]byte, n)
	for i := range text {
		text[i] = letters[randomBelow(len(letters))]
	}
	return string(text)
}

// randomBelow returns a random number below n, all equally likely.
func randomBelow(n int) int {
	for {
		var b [1]byte
		_, _ = rand.Read(b[:]) // never fails
		if int(b[0]) < 256-256%n {
			return int(b[0]) % n
		}
	}
}
