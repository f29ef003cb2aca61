package config

import (
	"regexp"
	"time"
)

// DefaultUpdates applies when the file has no `updates`. Restarts are at night in the places where
// most boxes are.
var DefaultUpdates = Updates{Window: Window{From: 3 * time.Hour, Until: 5 * time.Hour}}

// The words of `updates.channel`.
const (
	UpdatesStable = "stable"
	UpdatesOff    = "off"
)

func (d *decoder) updates(v value) {
	v.object(fields{
		"channel": func(v value) {
			d.cfg.Updates.Channel, _ = v.oneOf(UpdatesStable, UpdatesOff)
		},
		"window": func(v value) {
			if w, ok := v.window(); ok {
				d.cfg.Updates.Window = w
			}
		},
	})
}

var windowRE = regexp.MustCompile(`^([01]\d:\d\d|2[0-3]:\d\d)-([01]\d:\d\d|2[0-3]:\d\d)$`)

// window decodes a part of the day.
func (v value) window() (Window, bool) {
	return parsed(v, func(text string) (Window, bool) {
		m := windowRE.FindStringSubmatch(text)
		if m == nil {
			return Window{}, false
		}
		from, err := clockOf(m[1])
		until, err2 := clockOf(m[2])
		return Window{from, until}, err == nil && err2 == nil && from != until
	}, "is no part of a day", `write it as "03:00-05:00", in UTC`)
}
