package gobuild

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Debian's architectures in Go's terms. armhf is built for ARMv6, so that the first Pis and the
// Zero run it too.
var targets = map[string][]string{
	"amd64": {"GOARCH=amd64"},
	"arm64": {"GOARCH=arm64"},
	"armhf": {"GOARCH=arm", "GOARM=6"},
}

// Request says what to compile.
type Request struct {
	Source  string // the project's checkout
	Package string // for example ./cmd/ztbridge
	Arch    string // Debian's name
	Version string // given to main.release, where there is one
	// Commit and Date are given to main.commit and main.date: `ztbridge version` tells them.
	Commit, Date string
	Tags         string
}

// Build compiles into the file out.
func Build(ctx context.Context, r Request, out string) error {
	env, ok := targets[r.Arch]
	if !ok {
		return fmt.Errorf("compiling %s: unknown architecture %q", r.Package, r.Arch)
	}
	out, err := filepath.Abs(out)
	if err != nil {
		return fmt.Errorf("compiling %s: %w", r.Package, err)
	}
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-buildvcs=false", "-tags", r.Tags,
		"-ldflags", fmt.Sprintf("-s -w -X main.release=%s -X main.commit=%s -X main.date=%s",
			r.Version, r.Commit, r.Date), "-o", out, r.Package)
	cmd.Dir = r.Source
	cmd.Env = append(append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux"), env...)
	var problem bytes.Buffer
	cmd.Stderr = &problem
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("compiling %s for %s: %w: %s", r.Package, r.Arch, err,
			bytes.TrimSpace(problem.Bytes()))
	}
	return nil
}
