package update

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"github.com/google/renameio/v2"
	"golang.org/x/crypto/blake2b"
)

// Auto keeps a box current by itself.
type Auto struct {
	Channel string
	// From and Until bound, as times of day in UTC, when the box may restart into a new version. A
	// window may pass midnight.
	From, Until time.Duration
	// Now has a person's wish to be current at once go before this box's turn and the window.
	Now bool
	// Get returns the content of an address that is signed and small.
	Get func(ctx context.Context, address string) ([]byte, error)
	// Fetch brings a bundle to the box and returns its file, see Download.
	Fetch func(ctx context.Context, address string) (string, error)

	machine string // autoState.Machine
}

const (
	lookEvery  = 6 * time.Hour
	spreadOver = 48 * time.Hour   // from the first box that installs a version to the last
	restartBy  = 15 * time.Minute // before the window ends
	maxChannel = 64 << 10
	dayLength  = 24 * time.Hour
)

// autoState is what Step remembers.
type autoState struct {
	Looked time.Time `json:"looked"`
	Newest time.Time `json:"newest"` // when the newest channel file seen was created
	Staged string    `json:"staged"` // version written to the other slot last
	Told   string    `json:"told"`
	// Machine tells this box from others: boxes take their turns by it.
	Machine string `json:"machine"`

	RestartAt time.Time `json:"restart_at,omitzero"` // into what is staged
	Offered   string    `json:"offered,omitempty"`   // version that waits for this box's turn
	Turn      time.Time `json:"turn,omitzero"`
	Asked     time.Time `json:"asked,omitzero"` // when a server was asked last
	Failure   *failure  `json:"failure,omitempty"`
	Complaint string    `json:"complaint,omitempty"` // why the last trial failed
}

func (b *Box) autoFile() string { return filepath.Join(b.DataDir, "update", "auto.json") }

// AutoTold returns what Step told last, for people; empty when it never ran.
func (b *Box) AutoTold() string { return b.autoState().Told }

func (b *Box) autoState() autoState {
	var s autoState
	text, err := os.ReadFile(b.autoFile())
	if err != nil || json.Unmarshal(text, &s) != nil {
		return autoState{} // a lost state costs one more look
	}
	return s
}

// Step does what is due at the given time, and returns in words what it did or waits for. It blocks
// for a download. It is to be called every few minutes; after it has restarted the machine it
// returns before that has happened.
func (b *Box) Step(ctx context.Context, a Auto, now time.Time) (string, error) {
	status, err := b.Status()
	if err != nil {
		return "", err
	}
	state := b.autoState()
	state.Machine = cmp.Or(state.Machine, rand.Text())
	a.machine = state.Machine
	told, err := b.step(ctx, a, status, &state, now)
	switch {
	case err != nil:
		told = "updates: " + err.Error()
		state.Asked = now
		state.failed(err, now)
	case told != "":
		state.Failure = nil
	}
	if told != "" {
		state.Told = told
	}
	return told, errors.Join(err, b.saveAutoState(state), b.Tell())
}

func (b *Box) saveAutoState(s autoState) error {
	if err := writeJSON(b.autoFile(), s, 0o600); err != nil {
		return fmt.Errorf("noting the state of updates: %w", err)
	}
	return nil
}

// writeJSON replaces a file by a value as JSON: at once, or not at all. It makes its directory.
func writeJSON(file string, value any, mode os.FileMode) error {
	text, err := json.Marshal(value)
	if err != nil {
		return err
	}
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	return renameio.WriteFile(file, text, mode, renameio.WithTempDir(dir))
}

func (b *Box) step(ctx context.Context, a Auto, status Status, state *autoState,
	now time.Time) (string, error) {
	if status.State == InUse {
		state.Staged, state.RestartAt, state.Complaint = "", time.Time{}, ""
	}
	switch {
	case status.State == Trying:
		return "", nil // the judge decides
	case status.State == Prepared && state.Staged == "" && !a.Now:
		return "", nil // a person's update, who restarts when it suits
	case status.State == Prepared:
		state.RestartAt = a.restartAt(now)
		if now.Before(state.RestartAt) {
			return state.waits(), nil
		}
		return state.restarts(), b.Restart(ctx)
	case now.Sub(state.Looked) < lookEvery && !now.Before(state.Looked) && !a.Now &&
		(state.Offered == "" || now.Before(state.Turn)):
		return "", nil
	}
	c, err := b.channel(ctx, a, state, now)
	if err != nil {
		return "", err
	}
	order, err := compareVersions(c.Version, status.Version)
	if err != nil {
		return "", err
	}
	state.Offered = ""
	entry, offered := c.Bundles[status.Target]
	turn := c.Created.Add(a.share(c.Version, spreadOver))
	switch {
	case order <= 0 || !offered:
		state.Looked = now
		return fmt.Sprintf("version %s is current", status.Version), nil
	case status.State == FellBack && state.Staged == c.Version:
		state.Looked = now
		return fmt.Sprintf("version %s failed its trial on this box; waiting for a newer one",
			c.Version), nil
	case now.Before(turn) && !a.Now:
		state.Looked, state.Offered, state.Turn = now, c.Version, turn
		return fmt.Sprintf("version %s is there; this box's turn is at %s", c.Version,
			minute(turn)), nil
	}
	state.Looked = now // a server that fails is not asked again at once
	if err := b.stage(ctx, a, c, entry); err != nil {
		return "", err
	}
	state.Staged, state.RestartAt, state.Complaint = c.Version, a.restartAt(now), ""
	if a.Now {
		return state.restarts(), b.Restart(ctx)
	}
	return state.waits(), nil
}

// restarts says into what the box restarts.
func (s *autoState) restarts() string {
	if s.Staged == "" {
		return "restarting into the version that a person installed"
	}
	return "restarting into version " + s.Staged
}

// waits says what a version that is installed waits for.
func (s *autoState) waits() string {
	return fmt.Sprintf("version %s is installed; this box restarts into it at %s", s.Staged,
		minute(s.RestartAt))
}

// channel returns the channel file, when it is one to be believed.
func (b *Box) channel(ctx context.Context, a Auto, state *autoState, now time.Time) (Channel,
	error) {
	key, err := b.key()
	if err != nil {
		return Channel{}, err
	}
	address, err := b.address(a.Channel + ".json")
	if err != nil {
		return Channel{}, err
	}
	text, err := a.Get(ctx, address)
	if err != nil {
		return Channel{}, fmt.Errorf("looking for updates: %w", err)
	}
	signature, err := a.Get(ctx, address+SignatureSuffix)
	if err != nil {
		return Channel{}, fmt.Errorf("looking for updates: %w", err)
	}
	c, err := OpenChannel(text, signature, key)
	switch {
	case err != nil:
		return Channel{}, err
	case c.Name != a.Channel:
		return Channel{}, fmt.Errorf("%w: it is of %q, not of %q", ErrChannel, c.Name, a.Channel)
	case now.After(c.Expires):
		return Channel{}, fmt.Errorf("%w on %s: its server is out of date, or somebody shows an "+
			"old one", ErrExpired, c.Expires.UTC().Format(time.DateOnly))
	case c.Created.Before(state.Newest):
		return Channel{}, fmt.Errorf("%w: it is of %s, that one of %s", ErrReplayed,
			c.Created.UTC().Format(time.DateOnly), state.Newest.UTC().Format(time.DateOnly))
	}
	state.Newest = c.Created
	return c, nil
}

// stage downloads the bundle and writes it to the other slot.
func (b *Box) stage(ctx context.Context, a Auto, c Channel, entry ChannelEntry) error {
	address, err := b.address(entry.File)
	if err != nil {
		return err
	}
	name, err := a.Fetch(ctx, address)
	if err != nil {
		return err
	}
	defer os.Remove(name)
	f, err := os.Open(name)
	if err != nil {
		return fmt.Errorf("opening the bundle: %w", err)
	}
	defer f.Close()
	key, err := b.key()
	if err != nil {
		return err
	}
	bundle, err := Open(f, key)
	if err != nil {
		return err
	}
	if bundle.Manifest.Version != c.Version {
		return fmt.Errorf("%w: the bundle is of version %s, the channel says %s", ErrDamaged,
			bundle.Manifest.Version, c.Version)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return fmt.Errorf("reading the bundle: %w", err)
	}
	_, err = b.Apply(ctx, f, false)
	return err
}

// address is that of a file beside the channel files.
func (b *Box) address(file string) (string, error) {
	_, release, err := b.running()
	if err != nil {
		return "", err
	}
	if release.Updates == "" {
		return "", ErrNoServer
	}
	address, err := url.JoinPath(release.Updates, file)
	if err != nil {
		return "", fmt.Errorf("finding the updates' server: %w", err)
	}
	return address, nil
}

// ErrNoServer reports an image that was built without the address of a release.
var ErrNoServer = errors.New("this image was built without an address to look for updates at")

// share is this box's part of a span: the same for the same box and text, and even over boxes.
func (a Auto) share(text string, span time.Duration) time.Duration {
	sum := blake2b.Sum256([]byte(a.machine + "\n" + text))
	return time.Duration(binary.BigEndian.Uint64(sum[:]) % uint64(span))
}

// restartAt returns this box's time in the window that contains now, or in the next one. It is now
// if a user wants the update at once.
func (a Auto) restartAt(now time.Time) time.Time {
	now = now.UTC()
	if a.Now {
		return now
	}
	length := cmp.Or((a.Until-a.From+dayLength)%dayLength, dayLength)
	start := now.Truncate(dayLength).Add(a.From)
	for start.After(now) {
		start = start.Add(-dayLength)
	}
	offset := a.share("restart", max(length-restartBy, time.Minute))
	if !now.Before(start.Add(length)) {
		start = start.Add(dayLength)
	}
	return start.Add(offset)
}

// key is the one that updates must be signed with.
func (b *Box) key() (ed25519.PublicKey, error) {
	text, err := os.ReadFile(b.KeyFile)
	if errors.Is(err, os.ErrNotExist) {
		return nil, ErrNoKey
	}
	if err != nil {
		return nil, fmt.Errorf("reading the update key: %w", err)
	}
	return DecodePublicKey(text)
}

// GetSmall returns the content of an https address of at most 64 KiB. It blocks for at most a
// minute.
func GetSmall(ctx context.Context, address string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	body, _, err := get(ctx, address, false)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	text, err := io.ReadAll(io.LimitReader(body, maxChannel+1))
	if err == nil && len(text) > maxChannel {
		err = ErrTooLarge
	}
	return text, err
}
