package config

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"
)

// Notify says who is told what happens to the box, and how.
type Notify struct {
	Events    []string      `yaml:"events,flow"` // of NotifyEvents
	DownAfter time.Duration `yaml:"down_after"`
	// Webhook, Ntfy, Telegram and Email are nil where they are not used.
	Webhook  *NotifyURL      `yaml:"webhook,omitempty"`
	Ntfy     *NotifyURL      `yaml:"ntfy,omitempty"`
	Telegram *NotifyTelegram `yaml:"telegram,omitempty"`
	Email    *NotifyEmail    `yaml:"email,omitempty"`
}

// NotifyURL is an address that messages are posted to.
type NotifyURL struct {
	URL     Secret     `yaml:"-"`                  // its path is one, as a rule
	Written string     `yaml:"url,omitempty"`      // the URL, where the configuration itself has it
	URLFile string     `yaml:"url_file,omitempty"` // absolute path; empty where Written is set
	Token   SecretFile `yaml:"token_file,omitempty"`
	By      []string   `yaml:"by,flow"`
}

// NotifyTelegram is a chat that a bot writes to.
type NotifyTelegram struct {
	Server string     `yaml:"server,omitempty"` // URL; empty: Telegram's own
	Token  SecretFile `yaml:"token_file"`
	Chat   string     `yaml:"chat"`
	By     []string   `yaml:"by,flow"`
}

// SecretFile is a secret and the file that it is in, both empty where there is none.
type SecretFile struct {
	Path string // absolute, mode 0600
	Text Secret
}

// MarshalYAML returns the path.
func (f SecretFile) MarshalYAML() (any, error) { return f.Path, nil }

// OwnLine is the path of messages by the box's own Internet connection.
const OwnLine = "wan"

const (
	defaultDownAfter = 5 * time.Minute
	leastDownAfter   = time.Second
	mostDownAfter    = 24 * time.Hour
)

// NotifyEvents returns what can be told.
func NotifyEvents() []string { return []string{"down", "change", "error", "update", "disk"} }

// secretLine is a file whose first line is a secret, to be read when the configuration is right.
type secretLine struct {
	path string
	at   Position
	take func(text string) (problem, remedy string)
}

// notify decodes who is told. It runs after the egresses.
func (d *decoder) notify(v value) {
	if v.node == nil {
		return
	}
	n := &Notify{Events: NotifyEvents(), DownAfter: defaultDownAfter}
	by := []string{OwnLine}
	const form = "add `ntfy:`, `telegram:`, `email:` or `webhook:` below it"
	if v.isNull() {
		v.fail(ErrMissing, "nobody is told", form)
		return
	}
	v.object(fields{
		"by":         func(v value) { by = v.paths() },
		"events":     func(v value) { n.Events = v.events() },
		"down_after": func(v value) { n.DownAfter, _ = v.duration(leastDownAfter, mostDownAfter) },
		"webhook":    func(v value) { n.Webhook = v.notifyURL(false) },
		"ntfy":       func(v value) { n.Ntfy = v.notifyURL(true) },
		"telegram":   func(v value) { n.Telegram = v.telegram() },
		"email":      func(v value) { n.Email = v.email() },
	})
	for _, of := range n.by() {
		if len(*of) == 0 {
			*of = by
		}
	}
	if len(n.by()) == 0 && len(d.errs) == 0 {
		v.fail(ErrMissing, "nobody is told", form)
	}
	d.cfg.Notify = n
}

// by returns the paths of each way to tell somebody.
func (n *Notify) by() []*[]string {
	var out []*[]string
	if n.Webhook != nil {
		out = append(out, &n.Webhook.By)
	}
	if n.Ntfy != nil {
		out = append(out, &n.Ntfy.By)
	}
	if n.Telegram != nil {
		out = append(out, &n.Telegram.By)
	}
	if n.Email != nil {
		out = append(out, &n.Email.By)
	}
	return out
}

// files returns the absolute paths of the files with secrets.
func (n *Notify) files() []string {
	var out []string
	for _, s := range n.secrets() {
		if s.Path != "" {
			out = append(out, s.Path)
		}
	}
	return out
}

// Secrets returns what must stand nowhere but in its file.
func (n *Notify) Secrets() []Secret {
	var out []Secret
	for _, s := range n.secrets() {
		out = append(out, s.Text)
	}
	return out
}

// secrets returns the secrets; the path of one that the configuration itself has is empty.
func (n *Notify) secrets() []SecretFile {
	if n == nil {
		return nil
	}
	var out []SecretFile
	for _, u := range []*NotifyURL{n.Webhook, n.Ntfy} {
		if u != nil {
			out = append(out, SecretFile{u.URLFile, u.URL}, u.Token)
		}
	}
	if n.Telegram != nil {
		out = append(out, n.Telegram.Token)
	}
	if n.Email != nil {
		out = append(out, n.Email.Password)
	}
	return out
}

// paths decodes by which egresses messages leave, in order.
func (v value) paths() []string {
	known := append([]string{OwnLine}, v.d.egressNames...)
	var out []string
	for _, item := range v.some("messages could not leave",
		"write `by: wan`, the name of an egress, or remove the key") {
		name, ok := item.text()
		switch {
		case !ok:
		case !slices.Contains(known, name):
			item.fail(ErrDangling, fmt.Sprintf("there is no egress %q", name),
				didYouMean(name, known, "write wan, for this box's own connection, or the name "+
					"of an egress"))
		case slices.Contains(out, name):
			item.fail(ErrDuplicate, fmt.Sprintf("%q is listed twice", name), "remove one of them")
		default:
			out = append(out, name)
		}
	}
	return out
}

func (v value) events() []string {
	var out []string
	for _, item := range v.some("nothing is told",
		"list events, or remove the key to be told all") {
		if word, ok := item.oneOf(NotifyEvents()...); ok && !slices.Contains(out, word) {
			out = append(out, word)
		}
	}
	return out
}

// secret decodes the name of a file with a secret, which is read later.
func (v value) secret(into *SecretFile, check func(text string) (problem, remedy string)) {
	into.Path, _ = v.path()
	v.d.secrets = append(v.d.secrets, secretLine{into.Path, v.pos(),
		func(text string) (string, string) {
			into.Text = NewSecret(text)
			return check(text)
		}})
}

// tokenRE matches what can stand in an HTTP header.
var tokenRE = regexp.MustCompile(`^[!-~]+$`)

func checkToken(text string) (problem, remedy string) {
	if !tokenRE.MatchString(text) {
		return "does not hold a token", "write the token alone on its first line"
	}
	return "", ""
}

func (v value) notifyURL(topic bool) *NotifyURL {
	if v.isNull() {
		v.fail(ErrMissing, "it has no address", "add `url:` or `url_file:` below it")
		return nil
	}
	u := &NotifyURL{}
	check := func(text string) (string, string) { return checkNotifyURL(text, topic) }
	given := 0
	v.object(fields{
		"by": func(v value) { u.By = v.paths() },
		"url": func(v value) {
			given++
			text, ok := v.text()
			if !ok {
				return
			}
			u.URL, u.Written = NewSecret(text), text
			if problem, remedy := check(text); problem != "" {
				v.fail(ErrValue, "this "+problem, remedy)
			}
		},
		"url_file": func(v value) {
			given++
			var file SecretFile
			v.secret(&file, func(text string) (string, string) {
				u.URL = NewSecret(text)
				return check(text)
			})
			u.URLFile = file.Path
		},
		"token_file": func(v value) { v.secret(&u.Token, checkToken) },
	})
	if given != 1 {
		v.fail(ErrMissing, "it needs one address",
			"write either `url:`, or `url_file:` with a file of mode 0600 that holds it")
	}
	return u
}

var topicRE = regexp.MustCompile(`^[-_A-Za-z0-9]{1,64}$`)

// checkNotifyURL says what is wrong with an address, without quoting it.
func checkNotifyURL(text string, topic bool) (problem, remedy string) {
	u, err := url.Parse(text)
	switch {
	case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" ||
		u.Fragment != "":
		return "is no address of the web", "write it as https://host/path"
	case u.User != nil:
		return "holds a password", "write it into a file, and name that: `token_file:`"
	case topic && !topicRE.MatchString(path.Base(u.Path)):
		return "names no topic of ntfy", "write it as https://ntfy.sh/topic"
	}
	return "", ""
}

var (
	botRE  = regexp.MustCompile(`^[0-9]+:[A-Za-z0-9_-]+$`)
	chatRE = regexp.MustCompile(`^(-?[0-9]+|@[A-Za-z0-9_]+)$`)
)

func (v value) telegram() *NotifyTelegram {
	t := &NotifyTelegram{}
	v.object(fields{
		"by": func(v value) { t.By = v.paths() },
		"server": func(v value) {
			text, ok := v.text()
			if !ok {
				return
			}
			t.Server = text
			if problem, remedy := checkNotifyURL(text, false); problem != "" {
				v.fail(ErrValue, "this "+problem, remedy)
			}
		},
		"token_file": func(v value) {
			v.secret(&t.Token, func(text string) (string, string) {
				if !botRE.MatchString(text) {
					return "does not hold a bot's token", "write what BotFather gave you, as " +
						"123456:ABC-DEF, on its first line"
				}
				return "", ""
			})
		},
		"chat": func(v value) {
			text, ok := v.text()
			if t.Chat = text; ok && !chatRE.MatchString(text) {
				v.fail(ErrValue, fmt.Sprintf("%q is no chat", text),
					"write its number, such as 123456789, or @name of a channel")
			}
		},
	})
	if (t.Chat == "" || t.Token.Path == "") && len(v.d.errs) == 0 {
		v.fail(ErrMissing, "a bot needs its token and a chat",
			"add `token_file:` and `chat:` below it")
	}
	return t
}

// readSecrets reads the files with one secret each, which must be private.
func (d *decoder) readSecrets() {
	for _, s := range d.secrets {
		data, err := readPrivate(s.path)
		if err != nil {
			d.fileError(s.path, s.at, err)
			continue
		}
		line, _, _ := strings.Cut(string(data), "\n")
		line = strings.TrimRight(line, "\r")
		if line == "" {
			d.fail(s.at, ErrValue, s.path+" is empty", "write the secret on its first line")
			continue
		}
		if problem, remedy := s.take(line); problem != "" {
			d.fail(s.at, ErrValue, s.path+" "+problem, remedy)
		}
	}
}
