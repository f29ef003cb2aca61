package main

import (
	"bytes"
	"image"
	"image/color"
	"image/png"
	"os/exec"
	"strings"
	"testing"
)

// TestCodeIsReadByACamera photographs what `client show --qr` draws, on terminals of either kind,
// and has zbar read it.
func TestCodeIsReadByACamera(t *testing.T) {
	camera, err := exec.LookPath("zbarimg")
	if err != nil {
		t.Skip("SKIPPED, NOT PASSED: it needs the program zbarimg (Debian: zbar-tools)")
	}
	const token = "5mUQbgpYq6mXv0Jt3nJx9cKk1Wc3bUe0o0Zr8qkq2xA"
	for _, text := range []string{
		"https://vm.example.org/" + token,
		"https://198.51.100.2:8443/" + token,
		"openvpn://import-profile/https://vm.example.org/" + token,
		"openvpn://import-profile/https://[2001:db8:b0::2]/" + token,
		"openvpn://import-profile/https://" + strings.Repeat("long.", 40) + "example.org/" + token,
	} {
		for _, c := range []struct {
			name    string
			screen  screen
			colours bool
		}{
			{"light on dark", screen{color.White, color.Black}, true},
			{"dark on light", screen{color.Black, color.White}, true},
			{"no colours", screen{color.White, color.Black}, false},
		} {
			var drawing strings.Builder
			if err := drawCode(&drawing, text, c.colours); err != nil {
				t.Fatal(err)
			}
			picture, err := c.screen.photograph(drawing.String())
			if err != nil {
				t.Fatal(err)
			}
			cmd := exec.Command(camera, "--nodbus", "--quiet", "--raw", "--set", "*.disable",
				"--set", "qrcode.enable", "-")
			cmd.Stdin = bytes.NewReader(picture)
			read, err := cmd.Output()
			if got := strings.TrimSuffix(string(read), "\n"); err != nil || got != text {
				t.Errorf("%s: read %q (%v), want %q", c.name, got, err, text)
			}
		}
	}
}

// screen is a terminal, by the colours that it writes in unless told otherwise.
type screen struct{ foreground, background color.Color }

// photograph returns a PNG of a drawing.
func (s screen) photograph(drawing string) ([]byte, error) {
	const dot = 4 // pixels; a character is as wide as half its height
	lines := strings.Split(strings.TrimSuffix(drawing, "\n"), "\n")
	width := 0
	for _, line := range lines {
		width = max(width, strings.Count(line, "")-1)
	}
	img := image.NewRGBA(image.Rect(0, 0, (width+8)*dot, (2*len(lines)+8)*dot))
	fill := func(x, y int, c color.Color) {
		for i := range dot * dot {
			img.Set(x*dot+i%dot, y*dot+i/dot, c)
		}
	}
	for y := range 2*len(lines) + 8 {
		for x := range width + 8 {
			fill(x, y, s.background)
		}
	}
	for row, line := range lines {
		front, back := s.foreground, s.background
		if rest, coloured := strings.CutPrefix(line, lightOnDark); coloured {
			line, front, back = strings.TrimSuffix(rest, ordinary), color.White, color.Black
		}
		column := 0
		for _, r := range line {
			upper, lower := back, back
			if r == '█' || r == '▀' {
				upper = front
			}
			if r == '█' || r == '▄' {
				lower = front
			}
			fill(4+column, 4+2*row, upper)
			fill(4+column, 5+2*row, lower)
			column++
		}
	}
	var out bytes.Buffer
	err := png.Encode(&out, img)
	return out.Bytes(), err
}
