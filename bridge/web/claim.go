package web

import (
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"ztbridge/bridge/api"
)

const (
	claimFileName = "claim.json"
	lockFileName  = ".lock"
	// claimWindow is how long after its first start a box may be claimed from its LAN without a
	// code. It counts while the box is on.
	claimWindow = 30 * time.Minute
	// chargeEvery is the unit in which the window is used up. Each start uses at least one.
	chargeEvery = time.Minute
	// codeLen is the length of a code: 49 bits, of which a guesser has a try every two seconds.
	codeLen = 10
)

// Errors of a claim.
var (
	// ErrNoClaim is returned where nobody may claim the page: it was claimed, or the box was set up
	// by its files.
	ErrNoClaim = &api.HintedError{Err: errors.New("this page cannot be claimed"),
		Hint: "make its password on the box: sudo ztbridge page password"}
	errCode     = errors.New("that is not the code of this box")
	errNeedCode = errors.New("this needs the code of this box")
)

// claim lets whoever comes first with the right make the first owner's password:
//
//	opened at first start ─┬─▶ on the LAN within 30 minutes ─┬─▶ Owner has a password, spent
//	                       └─▶ with the code, at any time ───┘
//	                       └─▶ set up by files, or a password made by the command line ─▶ spent
//
// No clock of the calendar counts: it jumps when the box gets to know the time.
type claim struct {
	Code    string        `json:"code"`
	Boot    string        `json:"boot"`    // the start that Began and Charged are of
	Began   time.Duration `json:"began"`   // since that start
	Before  time.Duration `json:"before"`  // what earlier starts have used of the window
	Charged time.Duration `json:"charged"` // what this start has used, rounded up
}

// bootClock returns which start of the machine this is, and the time since.
type bootClock func() (boot string, since time.Duration, err error)

// kernelClock is the kernel's clock, which nobody sets.
func kernelClock() (string, time.Duration, error) {
	id, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	var now unix.Timespec
	if err == nil {
		err = unix.ClockGettime(unix.CLOCK_BOOTTIME, &now)
	}
	if err != nil {
		return "", 0, fmt.Errorf("reading the time since the start: %w", err)
	}
	return strings.TrimSpace(string(id)), time.Duration(now.Nano()), nil
}

// advance counts the time until now, and reports whether that is worth a write to the disk.
func (c *claim) advance(boot string, since time.Duration) (used time.Duration, write bool) {
	if c.Boot != boot {
		c.Before += c.Charged
		c.Boot, c.Began, c.Charged, write = boot, 0, 0, true
	}
	used = max(since-c.Began, 0)
	if charged := used.Truncate(chargeEvery) + chargeEvery; charged > c.Charged {
		write = write || c.Before+c.Charged < claimWindow
		c.Charged = charged
	}
	return c.Before + used, write
}

// OpenClaim lets the page be claimed from now on, and begins the time in which its LAN needs no
// code. It is idempotent, and returns the code, or ErrNoClaim where there is an owner.
func (a *Accounts) OpenClaim() (code string, err error) {
	err = a.locked(func() error {
		all, err := a.read()
		if err != nil {
			return err
		}
		if _, claimed := all[Owner]; claimed {
			return ErrNoClaim
		}
		c, err := a.readClaim()
		if err == nil {
			code = c.Code
			return nil
		}
		if !errors.Is(err, ErrNoClaim) {
			return err
		}
		boot, since, err := a.clock()
		if err != nil {
			return err
		}
		c = claim{Code: randomText(codeLen), Boot: boot, Began: since, Charged: chargeEvery}
		code = c.Code
		return a.writeClaim(c)
	})
	return code, err
}

// Code returns the code that claims the page, or ErrNoClaim.
func (a *Accounts) Code() (string, error) {
	c, err := a.readClaim()
	return c.Code, err
}

// WithdrawClaim has nobody claim the page any more, and forgets what strangers tried on it. It is
// idempotent.
func (a *Accounts) WithdrawClaim() error {
	return a.locked(func() error {
		all, err := a.read()
		if err != nil || len(all) > 0 {
			return errors.Join(err, a.spend())
		}
		if err := os.RemoveAll(a.dir); err != nil {
			return fmt.Errorf("withdrawing the claim: %w", err)
		}
		return nil
	})
}

// spend removes the claim, if there is one.
func (a *Accounts) spend() error {
	err := os.Remove(filepath.Join(a.dir, claimFileName))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("spending the claim: %w", err)
	}
	return nil
}

// claimLeft returns for how long the LAN needs no code yet, or ErrNoClaim. It also counts the time
// that was used, and is to be called now and then.
func (a *Accounts) claimLeft() (left time.Duration, err error) {
	if _, err := a.readClaim(); err != nil {
		return 0, err
	}
	err = a.locked(func() error {
		left, err = a.countDown()
		return err
	})
	return left, err
}

// countDown is claimLeft for who holds the lock.
func (a *Accounts) countDown() (time.Duration, error) {
	c, err := a.readClaim()
	if err != nil {
		return 0, err
	}
	boot, since, err := a.clock()
	if err != nil {
		return 0, err
	}
	used, write := c.advance(boot, since)
	if write {
		err = a.writeClaim(c)
	}
	return max(claimWindow-used, 0), err
}

// claim makes the first password of the owner, and spends the claim. onLAN reports whether who asks
// is on the box's LAN. Of two at once, one succeeds; the other gets ErrNoClaim.
func (a *Accounts) claim(code string, onLAN bool, password string) error {
	return a.locked(func() error {
		left, err := a.countDown()
		if err != nil {
			return err
		}
		c, err := a.readClaim()
		if err != nil {
			return err
		}
		given := plainCode(code)
		switch {
		case given == "" && (!onLAN || left == 0):
			return errNeedCode
		case given != "" && subtle.ConstantTimeCompare([]byte(given), []byte(c.Code)) != 1:
			return errCode
		}
		return a.set(Owner, password)
	})
}

// plainCode returns a code as people type it the way it was made.
func plainCode(text string) string {
	return strings.Map(func(r rune) rune {
		if strings.ContainsRune(letters, r) {
			return r
		}
		return -1
	}, strings.ToLower(text))
}

// ShowCode writes a code as people read it.
func ShowCode(code string) string { return code[:len(code)/2] + "-" + code[len(code)/2:] }

func (a *Accounts) readClaim() (c claim, err error) {
	data, err := os.ReadFile(filepath.Join(a.dir, claimFileName))
	if errors.Is(err, fs.ErrNotExist) {
		return c, ErrNoClaim
	}
	if err == nil {
		err = json.Unmarshal(data, &c)
	}
	if err == nil && len(c.Code) != codeLen {
		err = errors.New("it has no code")
	}
	if err != nil {
		// What it holds is not told: it may be the code.
		return claim{}, &api.HintedError{Err: errors.New("the claim of the page cannot be read"),
			Hint: ErrNoClaim.Hint}
	}
	return c, nil
}

func (a *Accounts) writeClaim(c claim) error {
	if err := a.save(claimFileName, c); err != nil {
		return fmt.Errorf("keeping the claim of the page: %w", err)
	}
	return nil
}

// locked runs do while no other process or goroutine changes passwords or the claim.
func (a *Accounts) locked(do func() error) error {
	if err := os.MkdirAll(a.dir, 0o700); err != nil {
		return fmt.Errorf("making a directory for the passwords of the page: %w", err)
	}
	f, err := os.OpenFile(filepath.Join(a.dir, lockFileName), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return fmt.Errorf("locking the passwords of the page: %w", err)
	}
	defer f.Close()
	if err := unix.Flock(int(f.Fd()), unix.LOCK_EX); err != nil {
		return fmt.Errorf("locking the passwords of the page: %w", err)
	}
	return do()
}
