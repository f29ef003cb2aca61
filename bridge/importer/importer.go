package importer

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/openvpn/profile"
	"ztbridge/bridge/services"
)

// Daemon is the running daemon, if there is one.
type Daemon interface {
	Status(ctx context.Context) (api.Status, error) // api.ErrNotRunning: there is none
	Reload(ctx context.Context) error
}

// Import is a provider's profile that shall become an egress.
type Import struct {
	ConfigPath string
	Overrides  config.Overrides // those of the daemon
	Daemon     Daemon

	Name    string // of the egress
	Replace bool   // it exists, and gets another profile
	File    string // a profile or a ZIP archive of profiles
	Pick    []string
	// Credentials may be nil. With Replace, those of before stay in use then, if they are needed.
	Credentials  *config.Credentials
	LegacyCrypto bool
	Rules        []int // numbers, from 1, of rules of the policy that get the egress at their end

	// Progress hears what is done. It may be nil.
	Progress func(text string)
	// Wait bounds how long the tunnel may need to come up; 0: defaultWait.
	Wait time.Duration

	step func(name string) // called before each step, by a test
}

// defaultWait is how long a tunnel that was put in force may need to come up.
const defaultWait = time.Minute

// ErrNotUp is returned where the egress did not come up. All is as it was before.
var ErrNotUp = errors.New("the tunnel did not come up")

// ErrCredentials is returned where a profile needs credentials that are not there.
var ErrCredentials = errors.New("the profile needs credentials")

// errMoved is returned where somebody else has edited the configuration meanwhile.
var errMoved = errors.New("the configuration was edited meanwhile")

// Run puts the profile in force, and returns the status of its egress; nil: no daemon runs. On an
// error all is as it was before. It blocks until the tunnel is up.
func (i *Import) Run(ctx context.Context) (*api.Egress, error) {
	path, running, err := i.find(ctx)
	if err != nil {
		return nil, err
	}
	before, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the configuration: %w", err)
	}
	s, err := openStore(filepath.Dir(path))
	if err != nil {
		return nil, err
	}
	defer s.close()
	after, dir, err := i.stage(s, path, before)
	if err != nil {
		return nil, errors.Join(err, s.remove(dir))
	}
	i.at("exchange")
	if err := exchange(path, before, after); err != nil {
		return nil, errors.Join(err, s.remove(dir))
	}
	i.at("reload")
	var egress *api.Egress
	if running {
		if egress, err = i.awaitUp(ctx); err != nil {
			return nil, errors.Join(err, i.undo(ctx, s, path, before, after, dir))
		}
	}
	i.at("clean")
	if err := s.clean(path, after, i.Overrides); err != nil {
		i.say("%v", err) // the egress is in force all the same
	}
	return egress, nil
}

// undo puts the old configuration back in force and removes the new files.
func (i *Import) undo(ctx context.Context, s *store, path string, before, after []byte,
	dir string) error {
	i.at("undo")
	i.say("putting the old configuration back")
	if err := exchange(path, after, before); err != nil {
		return err // somebody's new text may name the files
	}
	return errors.Join(i.Daemon.Reload(context.WithoutCancel(ctx)), s.remove(dir))
}

// find returns the absolute path of the configuration, and whether a daemon runs with it.
func (i *Import) find(ctx context.Context) (path string, running bool, err error) {
	path, err = filepath.Abs(i.ConfigPath)
	if err != nil {
		return "", false, fmt.Errorf("finding the configuration %s: %w", i.ConfigPath, err)
	}
	st, err := i.Daemon.Status(ctx)
	switch {
	case errors.Is(err, api.ErrNotRunning):
		return path, false, nil
	case err != nil:
		return "", false, fmt.Errorf("asking the daemon: %w", err)
	case st.Config != "" && st.Config != path:
		return "", false, &api.HintedError{
			Err:  fmt.Errorf("the daemon reads %s, and not %s", st.Config, path),
			Hint: "name that one by --config"}
	}
	return path, true, nil
}

// at marks a step for a test.
func (i *Import) at(step string) {
	if i.step != nil {
		i.step(step)
	}
}

func (i *Import) say(format string, args ...any) {
	if i.Progress != nil {
		i.Progress(fmt.Sprintf(format, args...))
	}
}

// stage writes the files, and returns the text that the configuration is to have with them, after
// the same checks as at the daemon's start. dir is what it has made, also on an error.
func (i *Import) stage(s *store, path string, before []byte) (after []byte, dir string, err error) {
	from, err := readSource(i.File, i.Pick, profile.Options{LegacyCrypto: i.LegacyCrypto,
		Withheld: config.NamedSecrets(path, i.File)})
	if err != nil {
		return nil, "", err
	}
	if err := CheckCredentials(from.parsed, i.Login()); err != nil {
		return nil, "", err
	}
	for _, f := range from.report.Warnings() {
		if f.Severity == profile.Serious {
			i.say("%s: %s", from.name, f)
		}
	}
	i.at("stage")
	if dir, err = s.add(i.Name, from, i.Credentials, i.at); err != nil {
		return nil, dir, err
	}
	keep := i.Credentials == nil && from.parsed.CheckCredentials(nil) != nil
	edit := config.TunnelEdit{Name: i.Name, Profile: s.named(dir, from.name), Pick: i.Pick,
		Collection: from.collection, LegacyCrypto: i.LegacyCrypto, KeepCredentials: keep}
	if i.Credentials != nil {
		edit.Credentials = s.named(dir, loginFile)
	}
	if i.Replace {
		after, err = config.ReplaceTunnel(before, edit)
	} else {
		after, err = config.AddTunnel(before, edit, i.Rules)
	}
	if err != nil {
		return nil, dir, editError(err, path)
	}
	i.at("check")
	if _, err := services.LoadText(path, after, i.Overrides); err != nil {
		return nil, dir, fmt.Errorf("checking the configuration with the new profile: %w", err)
	}
	return after, dir, nil
}

// Login returns the credentials that the profile will be used with: those given, or those that the
// egress has; nil where there are none, or the configuration has mistakes.
func (i *Import) Login() *config.Credentials {
	if i.Credentials != nil || !i.Replace {
		return i.Credentials
	}
	cfg, _, err := config.Load(i.ConfigPath, i.Overrides)
	if err != nil {
		return nil // an import into what is still wrong with it is refused later
	}
	at := slices.IndexFunc(cfg.Egresses, func(e config.Egress) bool { return e.Name == i.Name })
	if at < 0 || cfg.Egresses[at].OpenVPN == nil {
		return nil
	}
	return cfg.Egresses[at].OpenVPN.Credentials
}

// needs says what credentials a profile needs that are not there.
type needs string

func (n needs) Error() string { return string(n) }

// Is reports whether target is ErrCredentials.
func (needs) Is(target error) bool { return target == ErrCredentials }

// CheckCredentials returns ErrCredentials where a profile needs credentials that are not there.
// They may be nil.
func CheckCredentials(p *profile.Profile, c *config.Credentials) error {
	login := &profile.Credentials{}
	if c != nil {
		login = &profile.Credentials{Username: c.Username.Reveal(), Password: c.Password.Reveal(),
			KeyPassphrase: c.KeyPassphrase.Reveal()}
	}
	err := p.CheckCredentials(login)
	const file = "give a file of mode 0600: --credentials FILE, with "
	switch {
	case err == nil:
		return nil
	case p.NeedsCredentials && p.CredentialsOr(login).Username == "":
		return &api.HintedError{Err: needs("this profile needs a user name and password"),
			Hint: file + "the user name on its first line and the password on its second"}
	case p.NeedsPassphrase && login.KeyPassphrase == "":
		return &api.HintedError{
			Err: needs("the profile's private key is encrypted, and its passphrase is not given"),
			Hint: file + "the passphrase alone, or on its third line behind user name and " +
				"password"}
	default:
		return err
	}
}

func editError(err error, path string) error {
	switch {
	case errors.Is(err, config.ErrByHand):
		return &api.HintedError{
			Err:  fmt.Errorf("%s is written in a way that this command cannot edit: %w", path, err),
			Hint: "write the egress into it by hand; nothing was changed"}
	case errors.Is(err, config.ErrDuplicate):
		return &api.HintedError{Err: fmt.Errorf("editing %s: %w", path, err),
			Hint: "replace its profile: ztbridge egress replace; or choose another name"}
	default:
		return fmt.Errorf("editing %s: %w", path, err)
	}
}

// exchange puts a text in the place of another, if that is still what the file holds.
func exchange(path string, old, text []byte) error {
	now, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading the configuration: %w", err)
	}
	if !bytes.Equal(now, old) {
		return fmt.Errorf("writing %s: %w", path, errMoved)
	}
	if err := config.Rewrite(path, text); err != nil {
		return fmt.Errorf("writing the configuration: %w", err)
	}
	return nil
}

// awaitUp has the daemon read the configuration and waits until the egress is up.
func (i *Import) awaitUp(ctx context.Context) (*api.Egress, error) {
	i.say("reading the configuration")
	if err := i.Daemon.Reload(ctx); err != nil {
		return nil, fmt.Errorf("reading the new configuration: %w", err)
	}
	wait := cmp.Or(i.Wait, defaultWait)
	ctx, cancel := context.WithTimeoutCause(ctx, wait, ErrNotUp)
	defer cancel()
	i.say("waiting for %s to come up", i.Name)
	st, err := i.Daemon.Status(ctx)
	passes, state := st.Reconcile.Passes, "" // what it says of the tunnel may be of the old one
	for {
		if err != nil && ctx.Err() == nil {
			return nil, fmt.Errorf("asking the daemon: %w", err)
		}
		e := i.egressOf(st)
		if e != nil && st.Reconcile.Passes > passes {
			if e.State != state {
				state = e.State
				i.say("%s is %s", i.Name, state)
			}
			if state == "up" {
				return e, nil
			}
			if slices.Contains(hopeless, state) {
				return nil, notUp(st, *e)
			}
		}
		select {
		case <-time.After(lookEvery):
		case <-ctx.Done():
			cause := context.Cause(ctx)
			if errors.Is(cause, ErrNotUp) && e != nil {
				cause = notUp(st, *e)
			}
			return nil, cause
		}
		st, err = i.Daemon.Status(ctx)
	}
}

// egressOf returns what a status says of the egress, nil if it knows none of the name.
func (i *Import) egressOf(st api.Status) *api.Egress {
	for _, e := range st.Egresses {
		if e.Name == i.Name {
			return &e
		}
	}
	return nil
}

// lookEvery is how often the daemon is asked.
const lookEvery = 100 * time.Millisecond

// hopeless are the states of a tunnel that only a person can end.
var hopeless = []string{"auth-failed", "cert-expired", "config-error", "push-refused"}

// notUp says why an egress is not up.
func notUp(st api.Status, e api.Egress) error {
	for _, c := range st.Conditions {
		if c.Subject == e.Name {
			return &api.HintedError{Err: fmt.Errorf("%w: %s", ErrNotUp, c.Message), Hint: c.Remedy}
		}
	}
	return fmt.Errorf("%w: it is %s", ErrNotUp, e.State)
}
