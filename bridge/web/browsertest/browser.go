package browsertest

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/chromedp/cdproto"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/chromedp"
)

// timeout bounds a whole test with a browser.
const timeout = 3 * time.Minute

// Browser is a headless browser that ends with the test.
type Browser struct {
	t        *testing.T
	ctx      context.Context
	answer   atomic.Bool   // to the page's questions
	answered chan struct{} // gets a value after each
}

// Options say how a browser differs from a person's own.
type Options struct {
	// Allowed are parts of what the console may complain of; for all else the test fails.
	Allowed []string
	// Elsewhere sends what is for an address and port, "10.1.1.1:80", to another.
	Elsewhere map[string]string
	// Trusted is a certificate that the browser takes though no authority vouches for it.
	Trusted *x509.Certificate
	// Timeout bounds what the browser is used for; by default three minutes.
	Timeout time.Duration
}

// New starts a browser. Where there is none, the test is skipped.
func New(t *testing.T, o Options) *Browser {
	t.Helper()
	home := t.TempDir()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(find(t)),
		chromedp.UserDataDir(filepath.Join(home, "data")), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Env("HOME="+home, "TMPDIR="+home, "XDG_CONFIG_HOME="+home, "XDG_CACHE_HOME="+home),
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-dev-shm-usage", true),
		chromedp.Flag("no-proxy-server", true))
	var rules []string
	for from, to := range o.Elsewhere {
		rules = append(rules, "MAP "+from+" "+to)
	}
	options = append(options, chromedp.Flag("host-resolver-rules", strings.Join(rules, ",")))
	if o.Trusted != nil {
		sum := sha256.Sum256(o.Trusted.RawSubjectPublicKeyInfo)
		options = append(options, chromedp.Flag("ignore-certificate-errors-spki-list",
			base64.StdEncoding.EncodeToString(sum[:])))
	}
	timed, cancelTime := context.WithTimeout(context.Background(), cmp.Or(o.Timeout, timeout))
	t.Cleanup(cancelTime)
	allocator, cancelAllocator := chromedp.NewExecAllocator(timed, options...)
	ctx, cancel := chromedp.NewContext(allocator)
	var complaints []string
	messages := chromedp.Console(ctx)
	var reader sync.WaitGroup
	reader.Go(func() {
		for m, err := range messages {
			if err != nil {
				return // the browser has ended
			}
			known := slices.ContainsFunc(o.Allowed,
				func(a string) bool { return strings.Contains(m.Text, a) })
			if !known && m.Type != chromedp.ConsoleLog && m.Type != chromedp.ConsoleInfo {
				complaints = append(complaints, m.Text+" "+m.URL)
			}
		}
	})
	b := &Browser{t: t, ctx: ctx, answered: make(chan struct{}, 1)}
	questions := chromedp.Events(ctx, page.JavascriptDialogOpening)
	reader.Go(func() {
		for _, err := range questions {
			if err != nil || b.reply() != nil {
				return // the browser has ended
			}
		}
	})
	t.Cleanup(func() {
		if err := chromedp.Cancel(ctx); err != nil {
			t.Errorf("ending the browser: %v", err)
		}
		cancel()
		cancelAllocator()
		reader.Wait()
		for _, c := range complaints {
			t.Errorf("the console complains: %s", c)
		}
	})
	return b
}

// find returns the program of a browser; the test is skipped where there is none.
func find(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if found, err := exec.LookPath(name); err == nil {
			return found
		}
	}
	t.Skip("SKIPPED: there is no chromium on this machine")
	return ""
}

// reply answers a question of the page's.
func (b *Browser) reply() error {
	_, err := chromedp.Call(b.ctx, page.HandleJavaScriptDialog,
		page.HandleJavaScriptDialogParams{Accept: b.answer.Load()})
	if err != nil {
		return fmt.Errorf("answering the page: %w", err)
	}
	select {
	case b.answered <- struct{}{}:
	default:
	}
	return nil
}

// Step is something to do in a browser.
type Step = chromedp.Action[chromedp.Void]

// Do takes steps; one that fails ends the test.
func (b *Browser) Do(steps ...Step) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		html, _ := chromedp.Run(b.ctx, chromedp.OuterHTML(chromedp.CSS("body")))
		b.t.Fatalf("%v; the page is:\n%s", err, html)
	}
}

// Get returns what an action of the browser's gives; one that fails ends the test.
func Get[T any](b *Browser, a chromedp.Action[T]) T {
	b.t.Helper()
	value, err := chromedp.Run(b.ctx, a)
	if err != nil {
		b.t.Fatal(err)
	}
	return value
}

// WaitFor waits until a condition of the page holds, in JavaScript. It holds not while the
// condition throws, nor while the browser goes from one page to the next.
func (b *Browser) WaitFor(condition string) {
	b.t.Helper()
	holds := chromedp.Evaluate[bool]("(() => { try { return !!(" + condition +
		") } catch { return false } })()")
	for {
		held, err := chromedp.Run(b.ctx, holds)
		if err == nil && held {
			return
		}
		if err != nil && !betweenPages(err) {
			b.t.Fatalf("waiting for %s: %v", condition, err)
		}
		select {
		case <-b.ctx.Done():
			b.t.Fatalf("waiting for %s: it never came", condition)
		case <-time.After(lookEvery):
		}
	}
}

// lookEvery is how often WaitFor looks.
const lookEvery = 20 * time.Millisecond

// betweenPages reports whether an action failed because another document took the place of its own:
// the protocol's code for "No node with given id" and "Cannot find context".
func betweenPages(err error) bool {
	const serverError = -32000
	var answer *cdproto.Error
	return errors.As(err, &answer) && answer.Code == serverError
}

// Text returns the visible text of an element.
func (b *Browser) Text(selector string) string {
	b.t.Helper()
	for {
		text, err := chromedp.Run(b.ctx, chromedp.Text(chromedp.CSS(selector)))
		if err == nil {
			return text
		}
		if !betweenPages(err) {
			b.t.Fatalf("reading %s: %v", selector, err)
		}
	}
}

// See waits until an element is visible.
func (b *Browser) See(selector string) {
	b.t.Helper()
	b.Do(chromedp.WaitVisible(chromedp.CSS(selector)))
}

// Open goes to an address.
func (b *Browser) Open(url string) {
	b.t.Helper()
	b.Do(chromedp.Navigate(url))
}

// Type types into a field.
func (b *Browser) Type(selector, text string) {
	b.t.Helper()
	b.Do(chromedp.SendKeys(chromedp.CSS(selector), text))
}

// Click clicks on an element.
func (b *Browser) Click(selector string) {
	b.t.Helper()
	b.Do(chromedp.Click(chromedp.CSS(selector)))
}

// ClickAndAnswer clicks on an element by which the page asks a question, and returns when that was
// answered by yes or no. Any other question is answered by no.
func (b *Browser) ClickAndAnswer(selector string, yes bool) {
	b.t.Helper()
	b.answer.Store(yes)
	defer b.answer.Store(false)
	b.Click(selector)
	select {
	case <-b.answered:
	case <-b.ctx.Done():
		b.t.Fatalf("the page asks nothing at a click on %s", selector)
	}
}

// Login logs in at the page with a password, and waits for what comes of it.
func (b *Browser) Login(url, password string) {
	b.t.Helper()
	b.Open(url + "/login")
	b.Type("#password", password+"\n")
	b.See("#live, [role=alert]:not(:empty)")
}

// Choose chooses files in a field for them.
func (b *Browser) Choose(selector string, files ...string) {
	b.t.Helper()
	b.Do(chromedp.SetUploadFiles(chromedp.CSS(selector), files))
}
