package web

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"ztbridge/bridge/web/browsertest"
)

// machine is a box's clock since its start, which a test moves.
type machine struct {
	boot  string
	since time.Duration
	fails error
}

func (m *machine) clock() (string, time.Duration, error) { return m.boot, m.since, m.fails }

// claimable returns accounts that can be claimed, and the code.
func claimable(t *testing.T, m *machine) (*Accounts, string) {
	t.Helper()
	a := OpenAccounts(filepath.Join(t.TempDir(), "page"))
	a.clock = m.clock
	code, err := a.OpenClaim()
	if err != nil {
		t.Fatal(err)
	}
	return a, code
}

// TestClaimWindow: the time that the LAN needs no code counts while the box is on, over restarts,
// and by no clock that anybody sets. No number of starts makes it longer.
func TestClaimWindow(t *testing.T) {
	m := &machine{boot: "1", since: 40 * time.Minute} // a machine that was on before it was opened
	a, code := claimable(t, m)
	left := func(want time.Duration) {
		t.Helper()
		if got, err := a.claimLeft(); err != nil || got != want {
			t.Errorf("left: %v, %v; want %v", got, err, want)
		}
	}
	left(30 * time.Minute)
	m.since += 10*time.Minute + 30*time.Second
	left(19*time.Minute + 30*time.Second)
	m.boot, m.since = "2", 5*time.Second // the last minute had begun
	left(19*time.Minute - 5*time.Second)
	if again, err := a.OpenClaim(); err != nil || again != code {
		t.Errorf("opened again: %q, %v", again, err)
	}
	left(19*time.Minute - 5*time.Second)
	m.fails = errors.New("no clock")
	if err := a.claim("", true, ownerPassword); err == nil {
		t.Error("without a clock the LAN needs no code")
	}
	m.fails = nil
	for range 18 { // somebody pulls the plug again and again
		m.boot += "x"
		if _, err := a.claimLeft(); err != nil {
			t.Fatal(err)
		}
	}
	m.boot += "y"
	left(0)
	if err := a.claim("", true, ownerPassword); !errors.Is(err, errNeedCode) {
		t.Errorf("late: %v", err)
	}
	if err := a.claim(" "+strings.ToUpper(ShowCode(code))+"\n", false, ownerPassword); err != nil {
		t.Errorf("with the code: %v", err)
	}
	if _, err := a.Code(); !errors.Is(err, ErrNoClaim) {
		t.Errorf("the code is not spent: %v", err)
	}
}

// TestClaimIsRefused to whoever has no right to it, and then nothing is changed.
func TestClaimIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		code  string // "": none, "right", or what it is
		onLAN bool
		after func(*testing.T, *Accounts, *machine)
		want  error
	}{
		"elsewhere, without a code": {"", false, nil, errNeedCode},
		"elsewhere, a wrong code":   {"abcde-fghjk", false, nil, errCode},
		"the LAN, a wrong code":     {"abcde-fghjk", true, nil, errCode},
		"a part of the code":        {"a", false, nil, errCode},
		"nothing of a code":         {"-!-", false, nil, errNeedCode},
		"late": {"", true, func(_ *testing.T, _ *Accounts, m *machine) {
			m.since += claimWindow
		}, errNeedCode},
		"a password by the command line": {"right", true,
			func(t *testing.T, a *Accounts, _ *machine) {
				if err := OpenAccounts(a.dir).Set(Owner, "made on the box"); err != nil {
					t.Fatal(err)
				}
			}, ErrNoClaim},
		"withdrawn": {"right", true, func(t *testing.T, a *Accounts, _ *machine) {
			if err := errors.Join(a.WithdrawClaim(), a.WithdrawClaim()); err != nil {
				t.Fatal(err)
			}
		}, ErrNoClaim},
		"the owner's password was removed": {"right", true,
			func(t *testing.T, a *Accounts, _ *machine) {
				if err := errors.Join(a.Set(Owner, "made on the box"), a.Remove(Owner)); err != nil {
					t.Fatal(err)
				}
			}, ErrNoClaim},
	} {
		t.Run(name, func(t *testing.T) {
			m := &machine{boot: "1"}
			a, code := claimable(t, m)
			if c.code == "right" {
				c.code = code
			}
			if c.after != nil {
				c.after(t, a, m)
			}
			if err := a.claim(c.code, c.onLAN, ownerPassword); !errors.Is(err, c.want) {
				t.Errorf("%v, want %v", err, c.want)
			}
			if _, _, ok, err := a.Check(ownerPassword); ok || err != nil {
				t.Errorf("the password is in force: %v", err)
			}
		})
	}
}

// TestOneClaimWins of many at once, and nobody else's password is in force then.
func TestOneClaimWins(t *testing.T) {
	a, code := claimable(t, &machine{boot: "1"})
	dir, won := a.dir, make(chan string, 8)
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			one := OpenAccounts(dir) // as another process does
			one.clock = a.clock
			password := strings.Repeat(string(rune('a'+i)), minPassword)
			switch err := one.claim(code, false, password); {
			case err == nil:
				won <- password
			case !errors.Is(err, ErrNoClaim):
				t.Error(err)
			}
		})
	}
	all.Wait()
	close(won)
	var winners []string
	for password := range won {
		winners = append(winners, password)
	}
	if len(winners) != 1 {
		t.Fatalf("%d claims succeeded", len(winners))
	}
	if role, _, ok, err := a.Check(winners[0]); role != Owner || !ok || err != nil {
		t.Errorf("the winner's password: %v %v %v", role, ok, err)
	}
}

// TestWithdrawalWaits: while somebody claims the page, nobody else takes the claim away, and the
// new owner's password with it.
func TestWithdrawalWaits(t *testing.T) {
	a, _ := claimable(t, &machine{boot: "1"})
	withdrawn := make(chan error, 1)
	err := a.locked(func() error {
		go func() { withdrawn <- OpenAccounts(a.dir).WithdrawClaim() }()
		select {
		case err := <-withdrawn:
			t.Errorf("withdrawn: %v", err)
		case <-time.After(50 * time.Millisecond):
		}
		return a.set(Owner, ownerPassword)
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := <-withdrawn; err != nil {
		t.Error(err)
	}
	if role, _, ok, err := a.Check(ownerPassword); role != Owner || !ok || err != nil {
		t.Errorf("the owner's password: %v %v %v", role, ok, err)
	}
}

// TestClaimIsPrivate: nobody but the box reads the code, and a damaged one tells nothing of it.
func TestClaimIsPrivate(t *testing.T) {
	a, code := claimable(t, &machine{boot: "1"})
	path := filepath.Join(a.dir, claimFileName)
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	if err := os.WriteFile(path, []byte(`{"code":"`+code), 0o600); err != nil {
		t.Fatal(err)
	}
	err := a.claim(code, true, ownerPassword)
	if err == nil || strings.Contains(err.Error(), code) {
		t.Errorf("damaged: %v", err)
	}
}

// unclaimed is a page without passwords that can be claimed, seen by its LAN or by a network.
func unclaimed(t *testing.T, onLAN bool) (*Server, *httptest.Server, *machine, string) {
	t.Helper()
	of := &box{}
	st := working()
	if onLAN {
		st.WAN.Interface = "zt0" // of served
	}
	of.set(st)
	s, server := served(t, of)
	if err := errors.Join(s.accounts.Remove(Owner), s.accounts.Remove(Viewer)); err != nil {
		t.Fatal(err)
	}
	m := &machine{boot: "1"}
	s.accounts.clock = m.clock
	code, err := s.accounts.OpenClaim()
	if err != nil {
		t.Fatal(err)
	}
	return s, server, m, code
}

func claimForm(code, password, again string) url.Values {
	return url.Values{"code": {code}, "password": {password}, "again": {again}}
}

// TestClaimByForm: what is refused is told with what to do, and in the log of actions; the code and
// the password are not.
func TestClaimByForm(t *testing.T) {
	s, server, _, code := unclaimed(t, false)
	v := visit(t, server.URL)
	for _, c := range []struct {
		form url.Values
		code int
		says string
	}{
		{claimForm(code, ownerPassword, "another one"), 400, "The two passwords differ"},
		{claimForm(code, "short", "short"), 400, "10 to 256 characters"},
		{claimForm("", ownerPassword, ownerPassword), 403, "This needs the code"},
		{claimForm("wrong", ownerPassword, ownerPassword), 403, "not the code of this box"},
		{claimForm("wrong", ownerPassword, ownerPassword), 403, "ztbridge page code"},
		{claimForm("wrong", ownerPassword, ownerPassword), 403, "ztbridge-code.txt"},
		{claimForm("wrong", ownerPassword, ownerPassword), 403, ""},
		{claimForm(code, "short", "short"), 400, ""}, // gives no guesses back
		{claimForm(code, ownerPassword, ownerPassword), 429, "Too many wrong codes"},
	} {
		response, body := v.ask(http.MethodPost, "/claim", c.form)
		if response.StatusCode != c.code || !strings.Contains(body, c.says) {
			t.Errorf("%v: %d, want %d and %q:\n%s", c.form, response.StatusCode, c.code, c.says, body)
		}
		if strings.Contains(body, code) || strings.Contains(body, ownerPassword) {
			t.Errorf("the answer tells a secret:\n%s", body)
		}
	}
	entries, err := s.audit.last(100)
	if err != nil || len(entries) != 6 || entries[0].What != claimAction ||
		entries[0].From != "127.0.0.1" {
		t.Errorf("the log has %+v, %v", entries, err)
	}
	if log := mustRead(t, filepath.Join(s.config.Dir, auditFile)); strings.Contains(log, code) {
		t.Error("the log has the code")
	}
}

// TestForeignPagesCannotClaim: no other web page makes a browser of the LAN claim its box.
func TestForeignPagesCannotClaim(t *testing.T) {
	s, server, _, code := unclaimed(t, true)
	v := visit(t, server.URL)
	for name, edit := range foreign {
		for _, code := range []string{"", code} {
			response, body := v.ask(http.MethodPost, "/claim",
				claimForm(code, ownerPassword, ownerPassword), edit)
			if response.StatusCode < 400 {
				t.Errorf("%s: %d\n%s", name, response.StatusCode, body)
			}
		}
	}
	if claimed, err := s.accounts.Claimed(); claimed || err != nil {
		t.Errorf("claimed: %v, %v", claimed, err)
	}
}

// TestClaimedBoxRefuses whatever code somebody has, and keeps its owner.
func TestClaimedBoxRefuses(t *testing.T) {
	of := &box{}
	of.set(working())
	_, server := served(t, of)
	v := visit(t, server.URL)
	response, body := v.ask(http.MethodPost, "/claim",
		claimForm("abcde-fghjk", "of somebody else", "of somebody else"))
	if response.StatusCode != http.StatusConflict ||
		!strings.Contains(body, "sudo ztbridge page password") {
		t.Errorf("%d\n%s", response.StatusCode, body)
	}
	if code := v.login(ownerPassword); code != http.StatusSeeOther {
		t.Errorf("the owner logs in: %d", code)
	}
}

// TestClaimInBrowser: a person on the LAN makes the box theirs; the next one has to log in.
func TestClaimInBrowser(t *testing.T) {
	t.Parallel()
	s, server, _, _ := unclaimed(t, true)
	b := browsertest.New(t, browsertest.Options{Allowed: []string{"400"}})
	b.Open(server.URL)
	b.WaitFor(`document.querySelector("#left").textContent.includes("30 minutes")`)
	b.WaitFor(`!document.querySelector("#code")`)
	b.Type("#password", ownerPassword)
	b.Type("#again", ownerPassword+"!\n")
	b.WaitFor(`document.querySelector("#fault").textContent === "The two passwords differ."`)
	b.Type("#password", ownerPassword)
	b.Type("#again", ownerPassword+"\n")
	b.See("#live")
	if _, err := s.accounts.Code(); !errors.Is(err, ErrNoClaim) {
		t.Errorf("the code is not spent: %v", err)
	}
	other := browsertest.New(t, browsertest.Options{})
	other.Login(server.URL, ownerPassword)
	other.See("#live")
}

// TestLateClaimInBrowser: after 30 minutes the page says where the code is, and takes it.
func TestLateClaimInBrowser(t *testing.T) {
	t.Parallel()
	_, server, m, code := unclaimed(t, true)
	m.since += claimWindow
	b := browsertest.New(t, browsertest.Options{Allowed: []string{"403"}})
	b.Open(server.URL)
	b.WaitFor(`document.querySelector("#code-note").textContent.includes("30 minutes after")`)
	for _, try := range []string{"abcde-fghjk", ShowCode(code)} {
		b.Type("#code", try)
		b.Type("#password", ownerPassword)
		b.Type("#again", ownerPassword+"\n")
		if try != ShowCode(code) {
			b.WaitFor(`document.querySelector("#fault").textContent ===
				"That is not the code of this box."`)
		}
	}
	b.See("#live")
}
