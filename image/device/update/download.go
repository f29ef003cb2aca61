package update

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of a download. The signature tells whether a bundle is good; these keep a server that
// serves something else from filling the data partition or from keeping the box waiting.
const (
	downloadTimeout = 20 * time.Minute // 150 MB at one megabit a second
	answerTimeout   = 30 * time.Second // until the server's headers
	spareSpace      = 16 << 20         // left free for what else the box writes
)

// Errors of downloads that are refused.
var (
	ErrInsecure = errors.New("the address is not https")
	ErrTooLarge = errors.New("this is larger than any bundle for this box")
	ErrNoSpace  = errors.New("the data partition has too little free space")
)

// Download brings a bundle to the data partition and returns its file, which the caller removes. It
// blocks for at most 20 minutes. Only https with a certificate that the system trusts is followed,
// redirects included, unless insecure: then http and any certificate pass, too.
func (b *Box) Download(ctx context.Context, address string, insecure bool) (name string,
	err error) {
	limit, err := b.bundleLimit()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(b.DataDir, "update")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("downloading: %w", err)
	}
	// One name: what an interrupted download left is overwritten, and takes no space twice.
	name = filepath.Join(dir, "bundle")
	if err := os.Remove(name); err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("downloading: %w", err)
	}
	free, err := freeSpace(dir)
	if err != nil {
		return "", err
	}
	ctx, cancel := context.WithTimeout(ctx, downloadTimeout)
	defer cancel()
	body, size, err := get(ctx, address, insecure)
	if err != nil {
		return "", fmt.Errorf("downloading: %w", err)
	}
	defer body.Close()
	switch {
	case size > limit:
		return "", fmt.Errorf("downloading: %w: %d bytes, at most %d fit a slot", ErrTooLarge,
			size, limit)
	case size > free-spareSpace:
		return "", fmt.Errorf("downloading: %w: %d bytes are wanted, %d are free", ErrNoSpace,
			size+spareSpace, free)
	}
	if err := save(name, body, limit, free-spareSpace); err != nil {
		return "", fmt.Errorf("downloading: %w", errors.Join(err, os.Remove(name)))
	}
	return name, nil
}

// bundleLimit is the size of the largest bundle that can be for this box: its slot, uncompressed.
func (b *Box) bundleLimit() (int64, error) {
	slot, _, err := b.running()
	if err != nil {
		return 0, err
	}
	f, err := os.Open(filepath.Join(b.RunDir, slot.Other().Link()))
	if err != nil {
		return 0, fmt.Errorf("measuring the slot: %w", err)
	}
	defer f.Close()
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		return 0, fmt.Errorf("measuring the slot: %w", err)
	}
	return size + maxManifest + 4096, nil
}

func freeSpace(dir string) (int64, error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, fmt.Errorf("asking for free space: %w", err)
	}
	return int64(s.Bavail) * int64(s.Bsize), nil //nolint:unconvert // of 32 bits on armhf
}

// get returns the body of an address and its size, which is -1 when the server does not tell.
func get(ctx context.Context, address string, insecure bool) (io.ReadCloser, int64, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.ResponseHeaderTimeout = answerTimeout
	transport.DisableKeepAlives = true
	if insecure {
		transport.TLSClientConfig = uncheckedTLS()
	}
	return getBy(ctx, transport, address, insecure)
}

func getBy(ctx context.Context, transport http.RoundTripper, address string, insecure bool) (
	io.ReadCloser, int64, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, 0, err
	}
	if err := checkScheme(u, insecure); err != nil {
		return nil, 0, err
	}
	client := http.Client{Transport: transport,
		CheckRedirect: func(req *http.Request, via []*http.Request) error {
			if len(via) >= 5 {
				return errors.New("too many redirects")
			}
			return checkScheme(req.URL, insecure)
		}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, 0, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return nil, 0, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, 0, errors.Join(fmt.Errorf("the server answered %s", resp.Status),
			resp.Body.Close())
	}
	return resp.Body, resp.ContentLength, nil
}

func checkScheme(u *url.URL, insecure bool) error {
	if u.Scheme == "https" || insecure && u.Scheme == "http" {
		return nil
	}
	return fmt.Errorf("%w: %s", ErrInsecure, u.Redacted())
}

// save copies at most the smaller of both numbers of bytes. A server may send more than the size
// that it announced.
func save(name string, body io.Reader, limit, space int64) error {
	f, err := os.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	n, err := io.Copy(f, io.LimitReader(body, min(limit, space)+1))
	switch {
	case err != nil:
	case n > limit:
		err = fmt.Errorf("%w: more than %d bytes", ErrTooLarge, limit)
	case n > space:
		err = fmt.Errorf("%w: more than %d bytes", ErrNoSpace, space)
	}
	return errors.Join(err, f.Close())
}
