package main

import (
	"errors"
	"testing"
)

func TestMirrorIn(t *testing.T) {
	for list, want := range map[string]string{
		"http://mirror.example/debian/\nhttp://mirror.example/debian-security/\n":   "http://mirror.example",
		"https://vendor.example/node/\nhttps://mirror.example/pub/debian\n":         "https://mirror.example/pub",
		"http://mirror.example/debian-security/\nhttp://other.example/debian-like/": "",
		"": "",
	} {
		got, err := mirrorIn(list)
		if got != want || (want == "") != errors.Is(err, errNoMirror) {
			t.Errorf("mirrorIn(%q) = %q, %v; want %q", list, got, err, want)
		}
	}
}
