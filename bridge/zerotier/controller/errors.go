package controller

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"unicode"
)

// Errors of controllers, for errors.Is.
var (
	// ErrUnauthorized: the controller does not take the token (401).
	ErrUnauthorized = errors.New("the token is not accepted")
	// ErrForbidden: the token may not do this, or the account's plan does not include it (403).
	ErrForbidden = errors.New("the token or the account's plan does not allow this")
	// ErrNotFound: there is no such network or member (404).
	ErrNotFound = errors.New("not found")
	// ErrRateLimited: too many requests, also after waiting (429).
	ErrRateLimited = errors.New("too many requests")
	// ErrFailing: the controller, or what stands before it, has a fault of its own (5xx).
	ErrFailing = errors.New("the controller has a fault of its own")
	// ErrUnexpected: what answered is no controller, or not about what was asked.
	ErrUnexpected = errors.New("this is not a controller's answer")
	// ErrNoAnswer: no whole answer came in time.
	ErrNoAnswer = errors.New("no whole answer came in time")
	// ErrNoController: this build of zerotier-one has no controller.
	ErrNoController = errors.New("this zerotier-one has no controller")
	// ErrConflict: a default route of a person's stands against the plan.
	ErrConflict = errors.New("the network is set up otherwise")
	// ErrNoRoom: no address or subnet can be the box's.
	ErrNoRoom = errors.New("the box has no address in the network")
	// ErrNotKept: the controller accepted a change without carrying it out.
	ErrNotKept = errors.New("the controller did not keep the change")
)

// apiError is an answer that is no success. It never contains the token.
type apiError struct {
	status  int
	message string // the controller's own words; may be empty
}

func (e *apiError) Error() string {
	text := fmt.Sprintf("HTTP %d", e.status)
	if is := e.Unwrap(); is != nil {
		text = is.Error() + " (" + text + ")"
	}
	if e.message != "" {
		text += ": " + e.message
	}
	return text
}

func (e *apiError) Unwrap() error {
	switch code := e.status; {
	case code == http.StatusUnauthorized:
		return ErrUnauthorized
	case code == http.StatusForbidden, code == http.StatusPaymentRequired:
		return ErrForbidden
	case code == http.StatusNotFound:
		return ErrNotFound
	case code == http.StatusTooManyRequests:
		return ErrRateLimited
	case code >= http.StatusInternalServerError:
		return ErrFailing
	case code < http.StatusBadRequest:
		return ErrUnexpected
	}
	return nil
}

// printable bounds what a controller said, and removes the token and what cannot be seen.
func printable(text, token string) string {
	if token != "" {
		text = strings.ReplaceAll(text, token, "[token]")
	}
	text = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) {
			return ' '
		}
		return r
	}, text)
	const limit = 300
	if len(text) > limit {
		text = text[:limit] + "…"
	}
	return strings.TrimSpace(strings.ToValidUTF8(text, ""))
}
