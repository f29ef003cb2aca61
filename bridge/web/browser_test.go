package web

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"

	"ztbridge/bridge/web/browsertest"
)

// screen is what a person looks at the page with.
type screen struct {
	name          string
	width, height int64
	dark          bool
}

var screens = []screen{
	{"desktop", 1180, 900, false}, {"phone", 390, 844, false}, {"dark", 1180, 900, true},
	{"phone-dark", 390, 844, true},
}

func (s screen) use() []browsertest.Step {
	scheme := "light"
	if s.dark {
		scheme = "dark"
	}
	return []browsertest.Step{
		chromedp.EmulateViewport(s.width, s.height),
		func(ctx context.Context, tab *chromedp.Target) (chromedp.Void, error) {
			_, err := cdp.Call(ctx, tab, emulation.SetEmulatedMedia,
				emulation.SetEmulatedMediaParams{Features: []*emulation.MediaFeature{
					{Name: "prefers-color-scheme", Value: scheme}}})
			return chromedp.Void{}, err
		},
	}
}

// TestScreenshots looks at the page as the README shows it; with PAGE_SCREENSHOTS they are kept.
func TestScreenshots(t *testing.T) {
	dir := os.Getenv("PAGE_SCREENSHOTS")
	if dir == "" {
		t.Skip("SKIPPED: PAGE_SCREENSHOTS names no directory to keep pictures in")
	}
	of := remembering()
	of.set(working())
	for name, points := range of.points { // as people use it
		for i := range points {
			wave := math.Abs(math.Sin(float64(i)/9) + math.Sin(float64(i)/3)/3)
			points[i].BytesIn = uint64(wave * 9e6)
			points[i].BytesOut = uint64(wave * 2e6)
			points[i].RTT = 0.018 + wave/400
			if name == "backup" {
				points[i].BytesIn, points[i].BytesOut = 0, 0
				points[i].RTT, points[i].Up = 0.031+wave/300, 1
			}
		}
	}
	device := laptop()
	device.Choice, device.Egress = "backup", "backup"
	of.recognise(device, nil)
	s, server := served(t, of)
	withClients(s, newRoster(t, "phone", "laptop", "tablet"))
	(&fakeBox{network: someMembers()}).serve(s)
	b := browsertest.New(t, browsertest.Options{})
	b.Login(server.URL, ownerPassword)
	for _, state := range []string{"working", "backup", "clients", "keys", "maintenance",
		"network", "device"} {
		switch state {
		case "backup":
			of.set(onBackup())
			b.See("#problems")
		case "clients":
			b.Open(server.URL + "/clients")
		case "maintenance", "network", "device":
			b.Open(server.URL + "/" + state)
		case "keys":
			b.Click(`form[action^="/clients/link"]:has([value=tablet]) button`)
			b.See("#code")
		}
		for _, screen := range screens {
			b.Do(screen.use()...)
			if state == "working" {
				b.WaitFor(`document.querySelectorAll("#charts canvas").length === 2`)
			}
			picture := browsertest.Get(b, chromedp.FullScreenshot(100))
			name := filepath.Join(dir, state+"-"+screen.name+".png")
			if err := os.WriteFile(name, picture, 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
}
