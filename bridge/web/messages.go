package web

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"ztbridge/bridge/api"
)

// messages returns what sends test messages, nil if this box cannot.
func (s *Server) messages() api.NotifyBackend {
	backend, _ := s.config.Backend.(api.NotifyBackend)
	return backend
}

// messagesView is what came of test messages.
type messagesView struct{ Rows []messageRow }

type messageRow struct {
	Name, Text, Hint string
	Tone             tone
	Label            string
}

// testMessages sends a test message in each way that is configured, and shows what came of each.
func (s *Server) testMessages(w http.ResponseWriter, r *http.Request) {
	backend := s.messages()
	if backend == nil {
		s.refuseError(w, r, api.ErrNobodyTold)
		return
	}
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(2 * api.TestTimeout))
	// Whoever closes the page in between has still asked for it.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), api.TestTimeout)
	defer cancel()
	deliveries, err := backend.NotifyTest(ctx, "")
	s.record(r, "send test messages", errors.Join(err, failed(deliveries)))
	if err != nil {
		s.refuseError(w, r, err)
		return
	}
	s.page(w, r, http.StatusOK, "messages", frame{Title: "Test messages", Active: "maintenance",
		Body: messagesViewOf(deliveries)})
}

// failed names the senders by which nothing was delivered. The reason may quote a stranger: it is
// shown, and not kept.
func failed(deliveries []api.Delivery) error {
	var names []string
	for _, d := range deliveries {
		if d.Error != "" {
			names = append(names, d.Name)
		}
	}
	if len(names) == 0 {
		return nil
	}
	return fmt.Errorf("not delivered by %s", strings.Join(names, ", "))
}

func messagesViewOf(deliveries []api.Delivery) messagesView {
	var v messagesView
	for _, d := range deliveries {
		row := messageRow{Name: d.Name, Tone: good, Label: "Delivered",
			Text: fmt.Sprintf("in %.1f seconds. Look whether it has arrived.", d.Seconds)}
		if d.Error != "" {
			row.Tone, row.Label, row.Text, row.Hint = bad, "Not delivered", sentence(d.Error),
				sentence(d.Hint)
		}
		v.Rows = append(v.Rows, row)
	}
	return v
}
