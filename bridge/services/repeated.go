package services

import "log/slog"

// Repeated logs an error that comes again and again once while it lasts. The zero value is ready.
type Repeated struct{ last string }

// Warn logs err unless the call before had the same one; nil ends it.
func (r *Repeated) Warn(log *slog.Logger, message string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	if text != "" && text != r.last {
		log.Warn(message, "error", text)
	}
	r.last = text
}
