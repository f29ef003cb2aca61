package notify

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"

	"ztbridge/bridge/health"
)

const (
	maxAnswer  = 8 << 10
	maxHeader  = 16 << 10
	maxText    = 3500 // bytes: ntfy makes a file of more than 4096, and Telegram refuses more
	maxTitle   = 200
	telegramAt = "https://api.telegram.org"
)

// Webhook posts each message as JSON. Its address is a secret: whoever knows it may post as well.
type Webhook struct{ address, token string }

// NewWebhook returns a sender. token may be empty.
func NewWebhook(address, token string) *Webhook { return &Webhook{address, token} }

// Send implements Sender.
func (w *Webhook) Send(ctx context.Context, dial Dial, m Message) error {
	return post(ctx, dial, w.address, w.token, m, append(secretsIn(w.address), w.token)...)
}

// Ntfy publishes messages to a topic of ntfy.
type Ntfy struct{ address, token string }

// NewNtfy returns a sender to https://server/topic. token may be empty.
func NewNtfy(address, token string) *Ntfy { return &Ntfy{address, token} }

// Send implements Sender.
func (n *Ntfy) Send(ctx context.Context, dial Dial, m Message) error {
	u, err := url.Parse(n.address)
	if err != nil {
		return hide(err, n.address, n.token)
	}
	topic := path.Base(u.Path)
	u.Path = path.Join(path.Dir(u.Path), "/")
	priority, tag := 3, "information_source"
	switch m.Severity {
	case health.Error:
		priority, tag = 4, "rotating_light"
	case health.Warning:
		tag = "warning"
	}
	return post(ctx, dial, u.String(), n.token, map[string]any{
		"topic": topic, "title": cut(m.Title, maxTitle), "message": cut(m.Text, maxText),
		"priority": priority, "tags": []string{tag}}, topic, n.token)
}

// Telegram sends messages to a chat by a bot.
type Telegram struct{ server, token, chat string }

// NewTelegram returns a sender. server is empty for Telegram's own.
func NewTelegram(server, token, chat string) *Telegram {
	server = cmp.Or(server, telegramAt)
	return &Telegram{strings.TrimSuffix(server, "/"), token, chat}
}

// Send implements Sender.
func (t *Telegram) Send(ctx context.Context, dial Dial, m Message) error {
	return post(ctx, dial, t.server+"/bot"+t.token+"/sendMessage", "", map[string]any{
		"chat_id": t.chat, "text": cut(m.Title+"\n\n"+m.Text, maxText),
		"link_preview_options": map[string]bool{"is_disabled": true}},
		append([]string{t.token}, strings.Split(t.token, ":")...)...)
}

// leastSecret is the length of the shortest part of an address that is a secret of its own.
const leastSecret = 6

// secretsIn returns what is secret in an address: all behind the host, then the parts of it, of
// which the other side may quote one.
func secretsIn(address string) []string {
	u, err := url.Parse(address)
	if err != nil {
		return []string{address}
	}
	parts := strings.FieldsFunc(u.Path, func(r rune) bool { return r == '/' || r == ':' })
	for _, values := range u.Query() {
		parts = append(parts, values...)
	}
	out := []string{strings.Trim(u.RequestURI(), "/")}
	for _, p := range parts {
		if len(p) >= leastSecret {
			out = append(out, p)
		}
	}
	return out
}

// post sends a value as JSON, and waits until the other side has taken it. Nobody is followed
// elsewhere: where messages go is the configuration's to say.
func post(ctx context.Context, dial Dial, address, token string, body any,
	secrets ...string) error {
	data, err := json.Marshal(body)
	if err != nil {
		return fmt.Errorf("writing the message: %w", err)
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(data))
	if err != nil {
		return hide(err, secrets...)
	}
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("User-Agent", "ztbridge")
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	client := &http.Client{
		Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true,
			DisableCompression: true, MaxResponseHeaderBytes: maxHeader,
			TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}},
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}}
	response, err := client.Do(request)
	if err != nil {
		return hide(err, secrets...)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(response.Body, maxAnswer))
	if response.StatusCode/100 == 2 {
		return nil // taken, whatever became of the answer
	}
	if err != nil {
		answer = nil
	}
	return hide(refusalOf(response, answer), secrets...)
}

// refusalOf says why a message was not taken.
func refusalOf(response *http.Response, answer []byte) *Refusal {
	r := &Refusal{Text: fmt.Sprintf("%s answers %d %s", response.Request.URL.Hostname(),
		response.StatusCode, http.StatusText(response.StatusCode))}
	var said struct {
		Description string `json:"description"` // of Telegram
		Error       string `json:"error"`       // of ntfy
		Parameters  struct {
			RetryAfter int `json:"retry_after"`
		} `json:"parameters"`
	}
	_ = json.Unmarshal(answer, &said) // most others answer with a page
	if why := said.Description + said.Error; why != "" {
		r.Text += ": " + why
	}
	seconds, err := strconv.Atoi(response.Header.Get("Retry-After"))
	if err != nil {
		seconds = said.Parameters.RetryAfter
	}
	r.RetryAfter = time.Duration(min(max(seconds, 0), 1<<20)) * time.Second
	switch code := response.StatusCode; {
	case code == http.StatusUnauthorized || code == http.StatusForbidden:
		r.Remedy = "check the token"
	case code == http.StatusNotFound || code == http.StatusGone:
		r.Remedy = "check the address and the token"
	case code/100 == 3:
		r.Remedy = "write the address that it leads to"
	case code == http.StatusBadRequest:
		r.Remedy = "check the chat, topic or address"
	}
	return r
}
