package config

import "time"

type viewNotify struct {
	Events    []string      `yaml:"events,flow"`
	DownAfter time.Duration `yaml:"down_after"`
	Webhook   *viewURL      `yaml:"webhook,omitempty"`
	Ntfy      *viewURL      `yaml:"ntfy,omitempty"`
	Telegram  *viewTelegram `yaml:"telegram,omitempty"`
	Email     *viewEmail    `yaml:"email,omitempty"`
}

type viewURL struct {
	URL       string   `yaml:"url,omitempty"`
	URLFile   string   `yaml:"url_file,omitempty"`
	TokenFile string   `yaml:"token_file,omitempty"`
	By        []string `yaml:"by,flow"`
}

type viewTelegram struct {
	Server    string   `yaml:"server,omitempty"`
	TokenFile string   `yaml:"token_file"`
	Chat      string   `yaml:"chat"`
	By        []string `yaml:"by,flow"`
}

type viewEmail struct {
	Server       string   `yaml:"server"`
	Security     string   `yaml:"security"`
	From         string   `yaml:"from"`
	To           []string `yaml:"to,flow"`
	Username     string   `yaml:"username,omitempty"`
	PasswordFile string   `yaml:"password_file,omitempty"`
	By           []string `yaml:"by,flow"`
}

func (n *Notify) view() *viewNotify {
	if n == nil {
		return nil
	}
	v := &viewNotify{Events: n.Events, DownAfter: n.DownAfter, Webhook: n.Webhook.view(),
		Ntfy: n.Ntfy.view()}
	if t := n.Telegram; t != nil {
		v.Telegram = &viewTelegram{t.Server, t.Token.Path, t.Chat, t.By}
	}
	if m := n.Email; m != nil {
		v.Email = &viewEmail{m.Server(), m.Security, m.From, m.To, m.Username, m.Password.Path,
			m.By}
	}
	return v
}

func (u *NotifyURL) view() *viewURL {
	if u == nil {
		return nil
	}
	return &viewURL{u.Written, u.URLFile, u.Token.Path, u.By}
}
