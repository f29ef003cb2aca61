package update

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"time"
)

// downloadTimeout is for a slow line: 150 MB at one megabit a second.
const downloadTimeout = 20 * time.Minute

// Download brings the bundle to the data partition. It need not be trusted: the signature is what
// counts.
func (b *Box) Download(ctx context.Context, address string) (name string, err error) {
	ctx, cancel := context.WithTimeout(ctx, downloadTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return "", fmt.Errorf("downloading: %w", err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", fmt.Errorf("downloading: %w", err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("downloading: the server answered %s", resp.Status)
	}
	dir := filepath.Join(b.DataDir, "update")
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", fmt.Errorf("downloading: %w", err)
	}
	// one name: what an interrupted download left is overwritten
	name = filepath.Join(dir, "bundle")
	f, err := os.Create(name)
	if err != nil {
		return "", fmt.Errorf("downloading: %w", err)
	}
	_, err = io.Copy(f, resp.Body)
	if err := errors.Join(err, f.Close()); err != nil {
		return "", fmt.Errorf("downloading: %w", errors.Join(err, os.Remove(name)))
	}
	return name, nil
}
