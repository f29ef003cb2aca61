package services

import (
	"ztbridge/bridge/config"
	"ztbridge/bridge/decide"
	"ztbridge/bridge/notify"
	"ztbridge/bridge/pathdial"
	"ztbridge/policyroute"
)

// NotifySettings says who is told what; no targets: nobody is.
func (l *Spec) NotifySettings() (notify.Settings, []notify.Target) {
	n := l.Config.Notify
	if n == nil {
		return notify.Settings{}, nil
	}
	settings := notify.Settings{DownAfter: n.DownAfter}
	for _, event := range n.Events {
		settings.Kinds = append(settings.Kinds, notify.Kind(event))
	}
	var targets []notify.Target
	add := func(name string, by []string, s notify.Sender) {
		targets = append(targets, notify.Target{Name: name, By: by, Sender: s})
	}
	if w := n.Webhook; w != nil {
		add("webhook", w.By, notify.NewWebhook(w.URL.Reveal(), w.Token.Text.Reveal()))
	}
	if w := n.Ntfy; w != nil {
		add("ntfy", w.By, notify.NewNtfy(w.URL.Reveal(), w.Token.Text.Reveal()))
	}
	if t := n.Telegram; t != nil {
		add("telegram", t.By, notify.NewTelegram(t.Server, t.Token.Text.Reveal(), t.Chat))
	}
	if m := n.Email; m != nil {
		add("email", m.By, notify.NewMail(notify.MailConfig{Host: m.Host, Port: m.Port,
			Security: notify.Security(m.Security), From: m.From, To: m.To,
			Username: m.Username, Password: m.Password.Text.Reveal()}))
	}
	return settings, targets
}

// NotifyPaths returns the paths that messages can leave by now, by the names that a configuration
// has for them. An egress that is called wan comes before this box's own line of that name.
func NotifyPaths(d decide.Decision, host decide.HostState) map[string][]pathdial.Path {
	out := map[string][]pathdial.Path{}
	own := map[string]bool{} // interfaces of this box's own line
	for _, f := range policyroute.Families {
		r := host.Default(f)
		if r.Iface == "" || !host.Up(r.Iface) {
			continue
		}
		own[r.Iface] = true
		out[config.OwnLine] = append(out[config.OwnLine],
			pathdial.Path{IPv6: f == policyroute.V6, Iface: r.Iface, HostResolvers: true})
	}
	for i, e := range d.Intent.Egresses {
		var paths []pathdial.Path
		for _, f := range policyroute.Families {
			if p, ok := egressPath(i, e, f); ok {
				p.HostResolvers = e.Kind == policyroute.EgressWAN && own[e.Iface]
				paths = append(paths, p)
			}
		}
		if len(paths) > 0 || e.Name == config.OwnLine {
			out[e.Name] = paths
		}
	}
	return out
}
