package management

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	ovpn "github.com/mysteriumnetwork/go-openvpn/openvpn/management"
)

const (
	// Deadline is how long a command may take, its sending included. A peer that takes longer is
	// wedged, and its late reply would be taken for that of the next command: the connection is
	// closed, and openvpn ends itself (management-client).
	Deadline = 5 * time.Second

	// maxLine is the longest line that is read, in bytes. OpenVPN's own buffers are far smaller.
	maxLine = 64 << 10

	// queueLength is how many events may wait for the middlewares. Log lines beyond it are dropped
	// and counted; anything else makes the reader wait.
	queueLength = 512

	// maxReply bounds the lines of a reply.
	maxReply = 10000
)

// Errors of commands.
var (
	ErrClosed   = errors.New("management: the connection is closed")
	ErrDeadline = errors.New("management: no reply in time")
	ErrProtocol = errors.New("management: unexpected reply")
)

// CommandError is a command that openvpn refused.
type CommandError struct{ Text string }

func (e *CommandError) Error() string { return "openvpn refused the command: " + e.Text }

var _ ovpn.CommandWriter = (*Conn)(nil)

// Conn is a connection to one openvpn process. Its commands may be called from any goroutine, those
// of the middlewares included; they take turns.
type Conn struct {
	socket  net.Conn
	log     *slog.Logger
	command sync.Mutex // held while a command is under way
	replies chan string
	waiting atomic.Bool // a command is under way: replies are wanted
	done    chan struct{}
	once    sync.Once
	dropped atomic.Uint64
}

func newConn(socket net.Conn, log *slog.Logger) *Conn {
	return &Conn{socket: socket, log: log, replies: make(chan string, 64),
		done: make(chan struct{})}
}

// Serve starts the middlewares, delivers events to them in order, and stops them when the
// connection ends, which it returns. It ends the connection when ctx ends.
func (c *Conn) Serve(ctx context.Context, middlewares ...ovpn.Middleware) error {
	stop := context.AfterFunc(ctx, c.Close)
	defer stop()
	defer c.Close()
	events := make(chan string, queueLength)
	read := make(chan error, 1)
	go func() {
		err := c.read(events)
		c.Close()
		close(events)
		read <- err
	}()
	err := c.deliver(events, middlewares)
	c.Close()
	for range events { // let the reader end
	}
	if readErr := <-read; err == nil {
		err = readErr
	}
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func (c *Conn) deliver(events <-chan string, middlewares []ovpn.Middleware) error {
	started := 0
	defer func() {
		for _, m := range middlewares[:started] {
			if err := m.Stop(c); err != nil && !errors.Is(err, ErrClosed) {
				c.log.Debug("stopping a management middleware", "error", err)
			}
		}
	}()
	for _, m := range middlewares {
		started++
		if err := m.Start(c); err != nil {
			return fmt.Errorf("starting management: %w", err)
		}
	}
	for line := range events {
		for _, m := range middlewares {
			consumed, err := m.ConsumeLine(line)
			if err != nil {
				c.log.Warn("handling an event of openvpn", "kind", eventKind(line), "error", err)
			}
			if consumed {
				break
			}
		}
	}
	return nil
}

// Close ends the connection. It may be called often.
func (c *Conn) Close() {
	c.once.Do(func() {
		close(c.done)
		_ = c.socket.Close()
	})
}

// Done is closed when the connection has ended.
func (c *Conn) Done() <-chan struct{} { return c.done }

// read sorts lines into events and replies until the connection ends.
func (c *Conn) read(events chan<- string) error {
	r := bufio.NewReaderSize(c.socket, maxLine)
	for {
		line, err := readLine(r)
		if err != nil {
			if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
				return nil
			}
			return fmt.Errorf("reading from openvpn: %w", err)
		}
		if strings.HasPrefix(line, ">") {
			if !c.enqueue(events, line) {
				return nil
			}
			continue
		}
		if !c.waiting.Load() {
			c.log.Warn("openvpn answered a question that nobody asked")
			continue
		}
		select {
		case c.replies <- line:
		case <-c.done:
			return nil
		}
	}
}

func (c *Conn) enqueue(events chan<- string, line string) bool {
	if strings.HasPrefix(line, ">LOG:") {
		select {
		case events <- line:
		default:
			c.dropped.Add(1)
		}
		return true
	}
	select {
	case events <- line:
		return true
	case <-c.done:
		return false
	}
}

// readLine returns the next line without its end.
func readLine(r *bufio.Reader) (string, error) {
	line, err := r.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		return "", fmt.Errorf("a line is longer than %d bytes", maxLine)
	}
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(line), "\r\n"), nil
}

// SingleLineCommand sends a command and returns what follows "SUCCESS: " in its reply. The
// formatted command must be one line; parameters that are not ours go through Quote. It blocks for
// at most Deadline, after which the connection is closed.
func (c *Conn) SingleLineCommand(template string, args ...any) (string, error) {
	return c.Block(fmt.Sprintf(template, args...), nil)
}

// Block sends a command with the given lines and "END" (client-auth), and returns what follows
// "SUCCESS: ". Nil lines send the command alone.
func (c *Conn) Block(command string, lines []string) (string, error) {
	e, err := c.begin(command, lines)
	if err != nil {
		return "", err
	}
	defer e.finish()
	line, err := e.next()
	if err != nil {
		return "", err
	}
	text, err := parseReply(line)
	if errors.Is(err, ErrProtocol) {
		c.Close() // where this reply ends is unknown
	}
	return text, err
}

// MultiLineCommand sends a command whose reply ends with "END". Some commands (status, version)
// begin at once with their lines; then the first result is empty.
func (c *Conn) MultiLineCommand(template string, args ...any) (string, []string, error) {
	e, err := c.begin(fmt.Sprintf(template, args...), nil)
	if err != nil {
		return "", nil, err
	}
	defer e.finish()
	var success string
	var lines []string
	for first := true; ; first = false {
		line, err := e.next()
		if err != nil {
			return "", nil, err
		}
		if first {
			text, err := parseReply(line)
			if err == nil {
				success = text
				continue
			}
			if !errors.Is(err, ErrProtocol) {
				return "", nil, err
			}
		}
		if line == "END" {
			return success, lines, nil
		}
		if lines = append(lines, line); len(lines) > maxReply {
			c.Close()
			return "", nil, fmt.Errorf("%w: more than %d lines", ErrProtocol, maxReply)
		}
	}
}

// parseReply splits the first line of a reply.
func parseReply(line string) (string, error) {
	if text, ok := strings.CutPrefix(line, "SUCCESS:"); ok {
		return strings.TrimSpace(text), nil
	}
	if text, ok := strings.CutPrefix(line, "ERROR:"); ok {
		return "", &CommandError{Text: strings.TrimSpace(text)}
	}
	return "", fmt.Errorf("%w: %.40q", ErrProtocol, line)
}

// exchange is one command under way.
type exchange struct {
	c     *Conn
	timer *time.Timer
}

// begin waits for its turn and sends. On success finish must be called.
func (c *Conn) begin(command string, lines []string) (*exchange, error) {
	text, err := frame(command, lines)
	if err != nil {
		return nil, err
	}
	c.command.Lock()
	select {
	case <-c.done:
		c.command.Unlock()
		return nil, ErrClosed
	default:
	}
	e := &exchange{c: c, timer: time.NewTimer(Deadline)}
	c.waiting.Store(true)
	_ = c.socket.SetWriteDeadline(time.Now().Add(Deadline))
	if _, err := io.WriteString(c.socket, text); err != nil {
		c.Close()
		e.finish()
		return nil, fmt.Errorf("%w: %w", ErrClosed, err)
	}
	return e, nil
}

// frame writes a command as it goes over the socket.
func frame(command string, lines []string) (string, error) {
	if err := checkLine(command); err != nil {
		return "", err
	}
	text := command + "\n"
	for _, l := range lines {
		if err := checkLine(l); err != nil || l == "END" {
			return "", ErrInjection
		}
		text += l + "\n"
	}
	if lines != nil {
		text += "END\n"
	}
	return text, nil
}

func (e *exchange) next() (string, error) {
	select {
	case line := <-e.c.replies:
		return line, nil
	case <-e.c.done:
		return "", ErrClosed
	case <-e.timer.C:
		e.c.Close()
		return "", ErrDeadline
	}
}

func (e *exchange) finish() {
	e.c.waiting.Store(false)
	e.timer.Stop()
	e.c.command.Unlock()
}
