package services

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/openvpn/client"
	"ztbridge/bridge/openvpn/profile"
)

// Spec is a configuration with the contents of all files that it names. Applying it cannot fail
// because of the user's files.
type Spec struct {
	Config   *config.Config
	Warnings []config.Warning
	Tunnels  map[string]TunnelFiles // by name of egress
	// Listeners are the endpoint's.
	Listeners []decide.Listener
}

// MetricsSettings says where metrics are served by TCP.
func (l *Spec) MetricsSettings() api.MetricsSettings {
	m := l.Config.Metrics
	return api.MetricsSettings{Listen: m.Listen, User: m.Username, Password: m.Password.Reveal()}
}

// TunnelFiles is the content of a provider's files.
type TunnelFiles struct {
	profile     *profile.Profile
	Report      profile.Report
	credentials *profile.Credentials
	order       client.Order
	rotate      *time.Duration
	// fingerprint changes with the content of any of the files.
	fingerprint string
}

const credentialsHint = "write them into a file of mode 0600, the user name on its first line, " +
	"the password on its second, " +
	"a private key's passphrase on its third or alone, and name it: credentials: FILE"

// Load reads the configuration and the profiles that it names. It changes nothing.
func Load(path string, overrides config.Overrides) (*Spec, error) {
	return loadFiles(config.Load(path, overrides))
}

// LoadText is Load of a configuration that has this text and is, or shall be, at the absolute path.
func LoadText(path string, text []byte, overrides config.Overrides) (*Spec, error) {
	return loadFiles(config.LoadText(path, text, overrides))
}

// loadFiles reads the profiles that a configuration names.
func loadFiles(cfg *config.Config, warnings []config.Warning, err error) (*Spec, error) {
	if err != nil {
		return nil, err
	}
	l := &Spec{Config: cfg, Warnings: warnings, Tunnels: map[string]TunnelFiles{}}
	var errs error
	for _, e := range cfg.Egresses {
		if e.OpenVPN == nil {
			continue
		}
		files, err := loadTunnel(cfg, e)
		if err != nil {
			errs = errors.Join(errs, fmt.Errorf("%s: %w", e.OpenVPN.ProfilePos, err))
			continue
		}
		l.Tunnels[e.Name] = files
	}
	l.Listeners, err = decide.ListenersOf(cfg)
	if err == nil {
		err = decide.Validate(cfg, l.Listeners)
	}
	if err = errors.Join(errs, err); err != nil {
		return nil, err
	}
	return l, nil
}

func loadTunnel(cfg *config.Config, e config.Egress) (TunnelFiles, error) {
	ciphers, err := knownCiphers(e.OpenVPN.Ciphers)
	if err != nil {
		return TunnelFiles{}, err
	}
	folder := e.OpenVPN.Profile
	if !e.OpenVPN.Collection {
		folder = filepath.Dir(folder)
	}
	parsed, report, err := loadProfile(e.OpenVPN, profile.Options{
		LegacyCrypto: e.OpenVPN.LegacyCrypto, Ciphers: ciphers,
		Withheld: cfg.SecretsBelow(folder)})
	if err != nil {
		return TunnelFiles{}, err
	}
	sum := sha256.New()
	sum.Write([]byte(parsed.Text()))
	sum.Write([]byte(parsed.Secrets()))
	if at := e.OpenVPN.Rotate; at != nil {
		fmt.Fprintf(sum, "%v", *at)
	}
	fmt.Fprint(sum, e.OpenVPN.Order)
	files := TunnelFiles{profile: parsed, Report: report, order: client.Order(e.OpenVPN.Order),
		rotate: e.OpenVPN.Rotate}
	if c := e.OpenVPN.Credentials; c != nil {
		files.credentials = clientCredentials(c)
		fmt.Fprintf(sum, "\x00%s\x00%s\x00%s", c.Username.Reveal(), c.Password.Reveal(),
			c.KeyPassphrase.Reveal())
	}
	if err := parsed.CheckCredentials(files.credentials); err != nil {
		return TunnelFiles{}, &api.HintedError{Err: err, Hint: credentialsHint}
	}
	files.fingerprint = hex.EncodeToString(sum.Sum(nil))
	return files, nil
}

// loadProfile reads one profile, or those of a folder or ZIP archive.
func loadProfile(o *config.OpenVPN, options profile.Options) (*profile.Profile, profile.Report,
	error) {
	if o.Collection {
		return profile.LoadAll(o.Profile, o.Pick, options)
	}
	return profile.Load(o.Profile, options)
}

// knownCiphers returns the ciphers by the names that openvpn has for them.
func knownCiphers(names []string) ([]string, error) {
	var out []string
	for _, name := range names {
		known := profile.KnownCipher(name)
		if known == "" {
			return nil, fmt.Errorf("ciphers: %q is not a cipher of OpenVPN 2.6 (see: openvpn "+
				"--show-ciphers)", name)
		}
		out = append(out, known)
	}
	return out, nil
}

// Check reads the configuration and every file that it names, as Load does, and returns a report
// for people. It has warnings, and the dropped directives of each profile with the reasons.
func Check(path string, overrides config.Overrides) (string, error) {
	l, err := Load(path, overrides)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	for _, w := range append(slices.Clone(l.Warnings), l.Config.CheckPlaces()...) {
		fmt.Fprintf(&b, "warning: %s\n", w)
	}
	for _, e := range l.Config.Egresses {
		files, ok := l.Tunnels[e.Name]
		if !ok {
			continue
		}
		fmt.Fprintf(&b, "egress %s: profile %s\n", e.Name, e.OpenVPN.Profile)
		for line := range strings.Lines(files.Report.String()) {
			fmt.Fprintf(&b, "  %s\n", strings.TrimSuffix(line, "\n"))
		}
	}
	return b.String(), nil
}
