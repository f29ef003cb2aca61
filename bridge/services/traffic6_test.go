package services

import (
	"testing"

	"ztbridge/bridge/probe"
)

func TestParseTraffic6(t *testing.T) {
	const text = "ifIndex                         \t7\nIp6InReceives                   \t10\n" +
		"Ip6OutForwDatagrams             \t3\nIp6OutRequests                  \t4\n" +
		"Ip6InOctets                     \t500\nIp6OutOctets                    \t600\n"
	if got := parseTraffic6([]byte(text)); got != (probe.Traffic{Received: 10, Sent: 7,
		Bytes: 1100}) {
		t.Errorf("%+v", got)
	}
}
