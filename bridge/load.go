package bridge

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/openvpn/profile"
)

// loaded is a configuration with everything that it names read and understood. Once it exists,
// putting it in force cannot fail for a reason that lies in the user's files.
type loaded struct {
	cfg      *config.Config
	warnings []config.Warning
	tunnels  map[string]tunnelFiles // by name of egress
	// listeners are the endpoint's.
	listeners []Listener
}

// tunnelFiles is what a provider's files say.
type tunnelFiles struct {
	profile     *profile.Profile
	report      profile.Report
	credentials *profile.Credentials
	// fingerprint changes when the content of any of the files does.
	fingerprint string
}

const credentialsHint = "write them into a file of mode 0600, the user name on its first line, " +
	"the password on its second, " +
	"a private key's passphrase on its third or alone, and name it: credentials: FILE"

// load reads the configuration and the profiles that it names. It changes nothing.
func load(opts Options) (*loaded, error) {
	cfg, warnings, err := config.Load(opts.ConfigPath, opts.Overrides)
	if err != nil {
		return nil, err
	}
	l := &loaded{cfg: cfg, warnings: warnings, tunnels: map[string]tunnelFiles{}}
	var errs error
	for _, e := range cfg.Egresses {
		if e.OpenVPN == nil {
			continue
		}
		files, err := loadTunnel(e)
		if err != nil {
			errs = errors.Join(errs,
				fmt.Errorf("%s: egress.%s.openvpn.profile: %w", e.OpenVPN.ProfilePos, e.Name, err))
			continue
		}
		l.tunnels[e.Name] = files
	}
	l.listeners, err = listenersOf(cfg)
	if err == nil {
		err = feasible(cfg, l.listeners)
	}
	if err = errors.Join(errs, err); err != nil {
		return nil, err
	}
	return l, nil
}

func loadTunnel(e config.Egress) (tunnelFiles, error) {
	parsed, report, err := profile.Load(e.OpenVPN.Profile)
	if err != nil {
		return tunnelFiles{}, err
	}
	sum := sha256.New()
	sum.Write([]byte(parsed.Text()))
	files := tunnelFiles{profile: parsed, report: report}
	if c := e.OpenVPN.Credentials; c != nil {
		files.credentials = &profile.Credentials{Username: c.Username.Reveal(),
			Password: c.Password.Reveal(), KeyPassphrase: c.KeyPassphrase.Reveal()}
		fmt.Fprintf(sum, "\x00%s\x00%s\x00%s", c.Username.Reveal(), c.Password.Reveal(),
			c.KeyPassphrase.Reveal())
	}
	if err := parsed.CheckCredentials(files.credentials); err != nil {
		return tunnelFiles{}, &api.HintedError{Err: err, Hint: credentialsHint}
	}
	files.fingerprint = hex.EncodeToString(sum.Sum(nil))
	return files, nil
}
