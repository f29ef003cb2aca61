package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/bridge/doctor"
	"ztbridge/bridge/support"
)

func (p *program) supportCommand() *cobra.Command {
	var out string
	cmd := &cobra.Command{
		Use:   "support -o FILE",
		Short: "Collect in one file what a helper needs, without secrets",
		Long: `Make a ZIP archive for whoever helps: status, doctor, plan, configuration, history, logs,
versions, routes and rules. Passwords, keys and tokens are removed; public addresses,
ZeroTier's ids and names are replaced, the same one by the same word everywhere.
README.txt in it lists what it holds: look through it before you hand it on.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if out == "" {
				return usage("support needs -o FILE", "ztbridge support -o support.zip")
			}
			parts, r := p.supportParts(cmd.Context())
			parts = append(parts, support.Observe(cmd.Context())...)
			var bundle bytes.Buffer
			if err := support.Write(&bundle, r, parts, time.Now()); err != nil {
				return err
			}
			if err := p.deliver(out, bundle.Bytes()); err != nil {
				return err
			}
			p.say("wrote %d files to %s; look through it before you hand it on", len(parts)+1, out)
			return nil
		},
	}
	cmd.Flags().StringVarP(&out, outputFlag, "o", "", "`file` to write; - for standard output")
	return cmd
}

// supportParts asks the daemon and the files, and returns what of it must be hidden. What cannot be
// had says why.
func (p *program) supportParts(ctx context.Context) ([]support.Part, *support.Redactor) {
	r := support.NewRedactor()
	said := func(text string, err error) string {
		if err != nil {
			return fmt.Sprintf("%s\n(%v)\n", text, err)
		}
		return text
	}
	s, err := p.daemon().Status(ctx)
	asJSON, marshal := json.MarshalIndent(s, "", "  ")
	plan, planErr := p.daemon().Plan(ctx)
	changes, changesErr := p.daemon().PastChanges(ctx, api.LastMonth, 1000)
	cfg, _, cfgErr := config.Load(p.configPath, p.overrides)
	shown := ""
	if cfg != nil {
		var text []byte
		if text, cfgErr = cfg.Show(); cfgErr == nil {
			shown = string(text)
		}
	}
	p.hideNames(r, s, cfg)
	for _, c := range changes { // of what is not configured any more, too
		if c.Kind == "egress" || c.Kind == "ingress" {
			r.Name(c.Kind, c.Name)
		}
	}
	p.hideSecrets(r, cfg)
	return []support.Part{
		{Name: "status.txt", What: "what ztbridge says is going on",
			Text: said(api.RenderDetails(s), err)},
		{Name: "status.json", What: "the same, in full", Text: said(string(asJSON), marshal)},
		{Name: "doctor.txt", What: "what is broken, and what to do",
			Text: said(p.diagnosis(ctx))},
		{Name: "plan.txt", What: "what would change in the kernel", Text: said(plan, planErr)},
		{Name: "history.txt", What: "what changed in the last month",
			Text: said(api.RenderChanges(changes), changesErr)},
		{Name: "config.txt", What: "the configuration in force, defaults included",
			Text: said(shown, cfgErr)},
		{Name: "ztbridge.txt", What: "this program", Text: fmt.Sprintf(
			"program %s, daemon %s, started %s, %s, %d CPUs\n", version(), s.Version,
			s.Started.Format(time.RFC3339), runtime.Version(), runtime.NumCPU())},
	}, r
}

func (p *program) diagnosis(ctx context.Context) (string, error) {
	f, names, files, err := p.facts(ctx)
	if err != nil {
		return "", err
	}
	f.Host = doctor.Observe(ctx, files, names)
	return doctor.Diagnose(f).String(), nil
}

// hideNames adds what people called things, and what identifies the box.
func (p *program) hideNames(r *support.Redactor, s api.Status, cfg *config.Config) {
	if host, err := os.Hostname(); err == nil {
		r.Name("host", host)
	}
	for _, n := range s.Networks {
		r.Name("network", n.ID)
		r.Name("network-name", n.Name)
		r.Name("network-name", n.Title)
		r.Name("node", n.Member)
	}
	for _, c := range s.Clients {
		r.Name("client", c.Name)
	}
	if clients, err := p.keys().Clients(); err == nil {
		for _, c := range clients {
			r.Name("client", c.Name)
		}
	}
	for _, d := range s.Devices {
		hideDevice(r, d.Kind, d.ID, d.Name)
	}
	for _, d := range s.Traffic {
		hideDevice(r, d.Kind, d.ID, d.Name)
	}
	for _, e := range s.Egresses {
		r.Name("egress", e.Name)
		for _, server := range append(e.Servers, e.Server) {
			r.Name("server", server)
		}
	}
	for _, i := range s.Ingresses {
		r.Name("ingress", i.Name)
	}
	if cfg == nil {
		return
	}
	for _, e := range cfg.Egresses {
		r.Name("egress", e.Name)
	}
	for _, name := range cfg.IngressNames() {
		r.Name("ingress", name)
	}
	if cfg.Endpoint != nil {
		r.Name("host", cfg.Endpoint.Address)
	}
	for _, file := range cfg.Files() {
		r.Name("file", filepath.Base(file))
		r.Name("file", strings.TrimSuffix(filepath.Base(file), filepath.Ext(file)))
		for _, name := range serverNames(file) {
			r.Name("host", name)
		}
	}
}

// hideDevice adds what a device is called. An address, which is a name as well, is hidden as one.
func hideDevice(r *support.Redactor, kind, id, name string) {
	switch kind {
	case "member":
		r.Name("node", id)
	case "client":
		r.Name("client", id)
	default:
		return
	}
	r.Name(kind, name)
}

// leastKey is the length of the shortest word of a file with keys that counts as one.
const leastKey = 16

// hideSecrets adds what opens something: credentials, tokens, and all that is in files with keys.
func (p *program) hideSecrets(r *support.Redactor, cfg *config.Config) {
	homes := []string{config.DefaultZeroTierHome}
	if cfg != nil {
		homes = append(homes, cfg.ZeroTier.Home)
		for _, e := range cfg.Egresses {
			if e.OpenVPN == nil || e.OpenVPN.Credentials == nil {
				continue
			}
			c := e.OpenVPN.Credentials
			for _, s := range []config.Secret{c.Username, c.Password, c.KeyPassphrase} {
				r.Secret(s.Reveal())
			}
		}
		for _, s := range append(cfg.Notify.Secrets(), cfg.Metrics.Password) {
			r.Secret(s.Reveal())
		}
	}
	named := p.hideNamedFiles(r)
	var places []string
	for _, name := range []string{"pki", "links", "acme", "zerotier-token", "page"} {
		places = append(places, filepath.Join(p.stateDir, name))
	}
	for _, home := range append(homes, named...) {
		for _, name := range []string{"identity.secret", "authtoken.secret", "ztbridge-moon.json"} {
			places = append(places, filepath.Join(home, name))
		}
	}
	for _, dir := range places {
		_ = filepath.WalkDir(dir, func(file string, d fs.DirEntry, err error) error {
			if err == nil && d.Type().IsRegular() {
				hideWords(r, file)
			}
			return nil // what cannot be read is in no log either
		})
	}
}

// secretFile is a key of the configuration that names a file with a secret, or the directory of
// zerotier-one, and its value.
var secretFile = regexp.MustCompile(
	`\b(?:credentials|home|[a-z]+_file)["']?\s*:\s*(?:"([^"\n]+)"|'([^'\n]+)'|([^\s,}#"']+))`)

// hideNamedFiles adds each line of the files with secrets that the configuration names, and of
// those beside it that look like one. It needs no configuration that is in order, or there at all.
// It returns all that it looked at.
func (p *program) hideNamedFiles(r *support.Redactor) []string {
	dir := filepath.Dir(p.configPath)
	var files []string
	for _, pattern := range []string{"*.auth", "*.token", "*.password", "profiles/*/*.auth"} {
		found, _ := filepath.Glob(filepath.Join(dir, pattern)) // the patterns are good
		files = append(files, found...)
	}
	text, err := os.ReadFile(p.configPath)
	if err != nil {
		text = nil // it is gone: told by config.txt
	}
	for _, m := range secretFile.FindAllStringSubmatch(string(text), -1) {
		file := cmp.Or(m[1], m[2], m[3])
		if !filepath.IsAbs(file) {
			file = filepath.Join(dir, file)
		}
		files = append(files, file)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil || len(text) > maxSecretFile {
			continue
		}
		for line := range strings.Lines(string(text)) {
			if !strings.HasPrefix(line, "-----") { // the border of a key
				r.Secret(line)
			}
		}
	}
	return files
}

// maxSecretFile bounds a file with secrets, in bytes.
const maxSecretFile = 64 << 10

// hideWords adds every word of a file that may be a key.
func hideWords(r *support.Redactor, file string) {
	text, err := os.ReadFile(file)
	if err != nil {
		return
	}
	for _, word := range strings.FieldsFunc(string(text), func(c rune) bool {
		return strings.ContainsRune(" \t\r\n:,\"'{}[]", c)
	}) {
		if len(word) >= leastKey && strings.ContainsAny(word, "0123456789") {
			r.Secret(word)
		}
	}
}
