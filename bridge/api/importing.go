package api

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
)

// ImportVerb is what shall be done with a provider's profile.
type ImportVerb string

// The verbs.
const (
	ImportTry     ImportVerb = "try"     // as `ztbridge config try`
	ImportAdd     ImportVerb = "add"     // as `ztbridge egress add`
	ImportReplace ImportVerb = "replace" // as `ztbridge egress replace`
	// ImportJoin writes a ZeroTier network into the configuration. There is no file.
	ImportJoin ImportVerb = "join"
)

// ImportRequest asks the service that may write the configuration to try a provider's profile, or
// to put it in force. The file follows the request, which is one line of JSON. The answer is
// Progress, a line each. It holds secrets, and prints as "[redacted]".
type ImportRequest struct {
	Verb    ImportVerb `json:"verb"`
	Egress  string     `json:"egress"`
	Network string     `json:"network,omitempty"` // to join, by its id
	Instead string     `json:"instead,omitempty"` // the id in the configuration that it replaces
	Replace bool       `json:"replace,omitempty"` // what is tried shall replace the egress's own
	File    string     `json:"file"`              // its name
	Size    int64      `json:"size"`              // in bytes

	Username   string `json:"username,omitempty"`
	Password   string `json:"password,omitempty"`
	Passphrase string `json:"passphrase,omitempty"` // of the profile's private key

	Rules        []int `json:"rules,omitempty"` // numbers, from 1, of rules that get the egress
	LegacyCrypto bool  `json:"legacy_crypto,omitempty"`
}

// String hides the secrets.
func (ImportRequest) String() string { return "[redacted]" }

// GoString hides the secrets from %#v.
func (ImportRequest) GoString() string { return "[redacted]" }

// LogValue hides the secrets from slog.
func (ImportRequest) LogValue() slog.Value { return slog.StringValue("[redacted]") }

// ImportSocket returns where the service listens that may write the configuration.
func ImportSocket(runtimeDir string) string { return runtimeDir + "-import.sock" }

// ErrNoImporter is returned where no service listens that may write the configuration.
var ErrNoImporter = &HintedError{
	Err:  errors.New("this box cannot change its configuration from the page"),
	Hint: "run on the box, as root: ztbridge egress add NAME FILE --credentials FILE",
}

// maxLine bounds a line of the protocol, in bytes.
const maxLine = 64 << 10

// Import has a request carried out with a file, and hears what is done. It returns when it is done;
// the error is the service's, with its hint.
func Import(ctx context.Context, socket string, r ImportRequest, file io.Reader,
	each func(Progress)) error {
	conn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return ErrNoImporter
	}
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer conn.Close()
	header, err := json.Marshal(r) //nolint:gosec // the service needs the password
	if err != nil {
		return fmt.Errorf("asking for an import: %w", err)
	}
	// The service may refuse before it has read all: its answer says why.
	_, sending := conn.Write(append(header, '\n'))
	if sending == nil {
		_, sending = io.CopyN(conn, file, r.Size)
	}
	lines := bufio.NewScanner(conn)
	lines.Buffer(nil, maxLine)
	for lines.Scan() {
		var p Progress
		if err := json.Unmarshal(lines.Bytes(), &p); err != nil {
			return fmt.Errorf("reading the answer to an import: %w", err)
		}
		if !p.Done {
			each(p)
			continue
		}
		if p.Error != "" {
			return &HintedError{Err: errors.New(p.Error), Hint: p.Hint}
		}
		return nil
	}
	broken := errors.New("the import ended without an answer")
	for _, err := range []error{ctx.Err(), sending} {
		if err != nil {
			broken = fmt.Errorf("%w: %w", broken, err)
		}
	}
	return &HintedError{Err: broken, Hint: "see what it says: journalctl -u 'ztbridge-import@*'"}
}

// ReadImport reads a request; the file follows in what it returns.
func ReadImport(from io.Reader, maxFile int64) (ImportRequest, io.Reader, error) {
	in := bufio.NewReaderSize(from, maxLine)
	line, err := in.ReadSlice('\n')
	var r ImportRequest
	if err == nil {
		err = json.Unmarshal(line, &r)
	}
	switch {
	case err != nil:
		// What it holds is not told: it may be a secret.
		return ImportRequest{}, nil, errors.New("reading a request: it is not a line of JSON")
	case r.Size < 0 || r.Size > maxFile:
		return ImportRequest{}, nil, fmt.Errorf("the file is larger than %d MB", maxFile>>20)
	}
	return r, io.LimitReader(in, r.Size), nil
}
