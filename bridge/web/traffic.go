package web

import (
	"fmt"
	"strings"
	"time"

	"ztbridge/bridge/api"
)

// maxDevicesShown bounds the rows of the page: `ztbridge status -v` has all.
const maxDevicesShown = 50

// deviceTraffic is a row of what devices sent and received.
type deviceTraffic struct{ Name, Where, Text string }

// trafficView is what devices sent and received, the busiest first.
type trafficView struct {
	Rows []deviceTraffic
	More int // devices without a row
}

func trafficViewOf(s api.Status) trafficView {
	var v trafficView
	for _, d := range api.ByTraffic(s.Traffic) {
		if len(v.Rows) == maxDevicesShown {
			v.More++
			continue
		}
		where := []string{}
		for _, text := range []string{d.ID, d.Ingress} {
			if text != "" && text != d.Name {
				where = append(where, text)
			}
		}
		v.Rows = append(v.Rows, deviceTraffic{Name: d.Name, Where: strings.Join(where, " · "),
			Text: sentence(trafficOf(d, s.Time))})
	}
	return v
}

// trafficOf says what a device sent and received, in how long.
func trafficOf(d api.DeviceTraffic, now time.Time) string {
	return fmt.Sprintf("%s in %s", d.Total(), age(now, d.Since))
}
