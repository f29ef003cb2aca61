package config

import (
	"fmt"
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

var windowRE = regexp.MustCompile(`^([01]\d|2[0-3]):([0-5]\d)-([01]\d|2[0-3]):([0-5]\d)$`)

// window decodes a part of the day.
func (v value) window() (Window, bool) {
	text, ok := v.text()
	if !ok {
		return Window{}, false
	}
	m := windowRE.FindStringSubmatch(text)
	if m == nil || m[1]+m[2] == m[3]+m[4] {
		v.fail(ErrValue, fmt.Sprintf("%q is no part of a day", text),
			`write it as "03:00-05:00", in UTC`)
		return Window{}, false
	}
	clock := func(hours, minutes string) time.Duration {
		d, _ := time.ParseDuration(hours + "h" + minutes + "m") // the pattern has checked it
		return d
	}
	return Window{clock(m[1], m[2]), clock(m[3], m[4])}, true
}
