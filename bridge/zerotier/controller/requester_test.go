package controller

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// TestSlowAnswer: a server that says a byte now and then holds nobody up for longer than they wait,
// and is told from one that says something else.
func TestSlowAnswer(t *testing.T) {
	ended := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := w.Write([]byte(" ")); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-ended:
				return
			case <-time.After(20 * time.Millisecond):
			}
		}
	}))
	defer slow.Close()
	defer close(ended)
	for _, c := range []Client{NewCentralV1(slow.URL, "t", nil), NewCentralV2(slow.URL, "t", nil)} {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		_, err := c.Networks(ctx)
		cancel()
		if !errors.Is(err, ErrNoAnswer) {
			t.Errorf("%s: %v", c.Kind(), err)
		}
	}
}
