package web

import (
	"context"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"ztbridge/bridge/api"
)

// teller is a box that tells people, some of whom refuse.
type teller struct {
	box
	asked int
	err   error
}

func (b *teller) NotifyTest(context.Context, string) ([]api.Delivery, error) {
	b.asked++
	return []api.Delivery{{Name: "ntfy", Seconds: 0.25},
		{Name: "webhook", Error: "it answered <b>403</b>", Hint: "check the token"}}, b.err
}

// A test message tells truthfully what came of it in each way, for the owner alone.
func TestTestMessages(t *testing.T) {
	t.Parallel()
	of := &teller{}
	of.set(working())
	s, server := served(t, of)
	v := visit(t, server.URL)
	token := v.as("owner")
	if _, body := v.ask(http.MethodGet, "/maintenance", nil); !strings.Contains(body,
		`action="/maintenance/messages?form=`) {
		t.Errorf("there is no button:\n%s", body)
	}
	send := func() (*http.Response, string) {
		return v.ask(http.MethodPost, "/maintenance/messages", url.Values{"token": {token}})
	}
	response, body := send()
	for _, want := range []string{">Delivered<", "in 0.2 seconds", ">Not delivered<",
		"It answered &lt;b&gt;403&lt;/b&gt;", "Check the token"} {
		if response.StatusCode != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%d, without %q:\n%s", response.StatusCode, want, body)
		}
	}
	log, err := os.ReadFile(filepath.Join(s.config.Dir, auditFile))
	if err != nil || !strings.Contains(string(log), "not delivered by webhook") ||
		strings.Contains(string(log), "403") {
		t.Errorf("the log has %v\n%s", err, log)
	}
	of.err = api.ErrTestsTooOften
	if response, body := send(); response.StatusCode != http.StatusTooManyRequests ||
		!strings.Contains(body, "Wait a minute") {
		t.Errorf("too often: %d\n%s", response.StatusCode, body)
	}
}
