package client

import (
	"regexp"
	"strconv"
	"time"

	"ztbridge/bridge/openvpn/profile"
)

const (
	// commonPing is how often most servers send a ping at most, in seconds.
	commonPing = 10
	// maxSilence is how long a server may be silent at most, in seconds.
	maxSilence = 300
	// falseAlarm is how soon a server answers that was silent, and had not gone away.
	falseAlarm = 3 * time.Second
)

// pushedPing is what openvpn logs of how often a server says it sends a ping.
var pushedPing = regexp.MustCompile(`^Pushed option removed by filter: 'ping (\d{1,5})'`)

// parsePushedPing returns the time between two pings, in seconds.
func parsePushedPing(text string) (seconds int, ok bool) {
	m := pushedPing.FindStringSubmatch(text)
	if m == nil {
		return 0, false
	}
	seconds, err := strconv.Atoi(m[1])
	return seconds, err == nil
}

// silence returns how long a server may send nothing before the connection counts as lost, in
// seconds.
func (t *Tunnel) silence(server profile.Remote) int {
	return max(t.silences[server], silenceSeconds)
}

// allowSilence allows a server longer silence after it was silent for too long. It reports whether
// openvpn must be restarted for that. ping is the time between its pings as it told, in seconds, or
// 0. Where probes are not answered either, an idle tunnel would otherwise be connected again
// and again.
func (t *Tunnel) allowSilence(server profile.Remote, ping int) bool {
	if ping <= commonPing {
		return t.silence(server) > t.startedWith
	}
	t.silences[server] = min(2*ping+5, maxSilence) // one may be lost
	return t.silences[server] > t.startedWith
}

// cameBack takes that a server is there again that was silent. One that says not how often it
// sends pings, and answers at once, may send none.
func (t *Tunnel) cameBack(server profile.Remote, ping int) {
	if ping == 0 && time.Since(t.silentAt) < falseAlarm {
		t.silences[server] = min(2*t.silence(server), maxSilence)
	}
	t.silentAt = time.Time{}
}
