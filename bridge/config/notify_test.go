package config

import (
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const tells = minimal + "notify:\n  ntfy: {url: \"https://ntfy.example.org/box\", token_file: ntfy.token}\n"

func TestNotifyDefaults(t *testing.T) {
	n := mustLoad(t, tells).Notify
	if n == nil || n.DownAfter != 5*time.Minute || len(n.Events) != 5 || len(n.Ntfy.By) != 1 ||
		n.Ntfy.By[0] != OwnLine || n.Ntfy.Token.Text.Reveal() != "tk_ntfy5ecret" {
		t.Errorf("%+v", n)
	}
	if mustLoad(t, minimal).Notify != nil {
		t.Error("somebody is told without the key")
	}
	mail := mustLoad(t, minimal+"notify: {by: provider, email: {server: 'mail.example.org:465', "+
		"from: a@example.org, to: b@example.org}}").Notify.Email
	if mail.Security != MailTLS || mail.Port != 465 || mail.By[0] != "provider" {
		t.Errorf("%+v", mail)
	}
}

// What is wrong is told with the line and the key, and no secret is quoted.
func TestNotifyMistakes(t *testing.T) {
	dir := folder(t)
	for name, text := range map[string]string{"empty.token": "\n",
		"spaces.token": "5ecret with spaces", "not.url": "5ecret", "user.url": "https://a:5ecret@b/c",
		"not.bot": "5ecret", "ntfy.url": "https://ntfy.example.org/5ecret/"} {
		write(t, filepath.Join(dir, name), text, 0o600)
	}
	write(t, filepath.Join(dir, "open.token"), "abc", 0o644)
	const good = "url: 'https://h.example.org/x'"
	for body, want := range map[string]string{
		"{}":                                                       "notify: nobody is told",
		"{down_after: 5m}":                                         "notify: nobody is told",
		"{ntfy: {}}":                                               "notify.ntfy: it needs one address",
		"{ntfy: {" + good + ", by: w}}":                            `notify.ntfy.by: there is no egress "w"`,
		"{by: [wan, wan], ntfy: {" + good + "}}":                   "notify.by[1]",
		"{by: [], ntfy: {" + good + "}}":                           "notify.by: messages could not leave",
		"{events: [downn], ntfy: {" + good + "}}":                  `notify.events[0]: "downn"`,
		"{events: [], ntfy: {" + good + "}}":                       "nothing is told",
		"{down_after: 10ms, ntfy: {" + good + "}}":                 "notify.down_after",
		"{ntfy: {url: 'ftp://h/x'}}":                               "notify.ntfy.url: this is no address",
		"{ntfy: {url: 'https://h/'}}":                              "names no topic",
		"{ntfy: {url: 'https://u:5ecret@h/x'}}":                    "holds a password",
		"{webhook: {" + good + ", url_file: webhook.url}}":         "needs one address",
		"{webhook: {url_file: not.url}}":                           "not.url is no address",
		"{webhook: {url_file: user.url}}":                          "user.url holds a password",
		"{webhook: {url_file: gone}}":                              "does not exist",
		"{webhook: {" + good + ", token_file: open.token}}":        "chmod 600",
		"{webhook: {" + good + ", token_file: empty.token}}":       "empty.token is empty",
		"{webhook: {" + good + ", token_file: spaces.token}}":      "does not hold a token",
		"{telegram: {chat: '1'}}":                                  "a bot needs its token",
		"{telegram: {chat: x y, token_file: telegram.token}}":      `"x y" is no chat`,
		"{telegram: {chat: '1', token_file: not.bot}}":             "does not hold a bot's token",
		"{email: {server: h.example.org}}":                         "mail needs a server",
		"{email: {server: 'h:0', from: a@b, to: a@b}}":             "no mail server",
		"{email: {server: 'h h', from: a@b, to: a@b}}":             "no mail server",
		"{email: {server: h, from: a, to: a@b}}":                   `"a" is no mail address`,
		"{email: {server: h, from: a@b, to: \"a@b\\r\\nBcc: c\"}}": "no mail address",
		"{email: {server: h, from: a@b, to: a@b, username: u}}":    "go together",
		"{email: {server: h, from: a@b, to: a@b, security: none, username: u, " +
			"password_file: mail.password}}": "in the clear",
		"{sms: {}}": "unknown key",
	} {
		_, _, err := load(t, dir, minimal+"notify: "+body+"\n")
		switch {
		case err == nil || !strings.Contains(err.Error(), want):
			t.Errorf("%s: %v, want %q", body, err, want)
		case strings.Contains(err.Error(), "5ecret"):
			t.Errorf("%s: a secret is quoted: %v", body, err)
		case !strings.Contains(err.Error(), "ztbridge.yaml:"):
			t.Errorf("%s: no line is told: %v", body, err)
		}
	}
	for body := range map[string]bool{"{ntfy: {url_file: webhook.url}}": true,
		"{email: {server: '[2001:db8::1]:25', from: Box <a@b.org>, to: a@b.org, security: none}}": true,
		"{email: {server: 2001:db8::1, from: a@b.org, to: [a@b.org, c@d.org]}}":                   true,
		"{telegram: {chat: -100123, token_file: telegram.token, by: [provider, wan]}}":            true,
	} {
		if _, _, err := load(t, dir, minimal+"notify: "+body+"\n"); err != nil {
			t.Errorf("%s: %v", body, err)
		}
	}
}

// No secret is shown, and every file goes with the configuration.
func TestNotifySecrets(t *testing.T) {
	cfg := mustLoad(t, uncomment(read(t, "ztbridge.yaml")))
	shown, err := cfg.Show()
	if err != nil {
		t.Fatal(err)
	}
	if text := string(shown); strings.Contains(text, "5ecret") ||
		!strings.Contains(text, "telegram.token") {
		t.Errorf("shown:\n%s", text)
	}
	if n := len(cfg.Notify.Secrets()); n != 6 {
		t.Errorf("%d secrets", n)
	}
	files := strings.Join(cfg.Files(), "\n")
	for _, name := range []string{"webhook.url", "webhook.token", "ntfy.token", "telegram.token",
		"mail.password"} {
		if !strings.Contains(files, name) {
			t.Errorf("%s stays behind", name)
		}
	}
}
