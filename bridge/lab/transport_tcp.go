package lab

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// without an acknowledgement, before a connection is given up
	tcpGiveUp   = 3 * time.Second
	tcpDialTime = 2 * time.Second        // for one attempt to connect
	tcpDialWait = 200 * time.Millisecond // between attempts
)

var errNotConnected = errors.New("not connected")

// tcpTransport sends frames over a connection that one goroutine opens, reads and opens again.
type tcpTransport struct {
	cfg    StreamConfig
	t      *tracker
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu   sync.Mutex
	conn net.Conn // nil while there is none
}

func newTCPTransport(cfg StreamConfig, t *tracker) *tcpTransport {
	ctx, cancel := context.WithCancel(context.Background())
	tr := &tcpTransport{cfg: cfg, t: t, cancel: cancel}
	tr.wg.Go(func() { tr.run(ctx) })
	return tr
}

func (tr *tcpTransport) send(seq uint64) error {
	tr.mu.Lock()
	conn := tr.conn
	tr.mu.Unlock()
	if conn == nil {
		return errNotConnected
	}
	// A full socket buffer must not stop the clock of the stream.
	if err := conn.SetWriteDeadline(
		time.Now().Add(time.Second / time.Duration(tr.cfg.Rate))); err != nil {
		return err
	}
	n, err := conn.Write(frame{marker: tr.cfg.Marker, seq: seq}.marshal())
	if err != nil && n > 0 {
		_ = conn.Close() // half a frame is on its way: the rest of this connection would be garbage
	}
	return err
}

func (tr *tcpTransport) close() {
	tr.cancel()
	tr.setConn(nil)
	tr.wg.Wait()
}

// setConn makes conn the current one and closes the one before.
func (tr *tcpTransport) setConn(conn net.Conn) {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	if tr.conn != nil {
		_ = tr.conn.Close()
	}
	tr.conn = conn
}

func (tr *tcpTransport) run(ctx context.Context) {
	for ctx.Err() == nil {
		if conn, err := tr.dial(ctx); err == nil {
			tr.t.connected()
			tr.setConn(conn)
			if ctx.Err() != nil { // closed in between
				tr.setConn(nil)
			}
			tr.read(conn)
			tr.setConn(nil)
			if tr.cfg.Hold {
				return
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(tcpDialWait):
		}
	}
}

func (tr *tcpTransport) dial(ctx context.Context) (conn net.Conn, err error) {
	ctx, cancel := context.WithTimeout(ctx, tcpDialTime)
	defer cancel()
	err = tr.cfg.From.Do(func() error {
		var d net.Dialer
		if tr.cfg.Source.IsValid() {
			d.LocalAddr = &net.TCPAddr{IP: tr.cfg.Source.AsSlice()}
		}
		conn, err = d.DialContext(ctx, "tcp", tr.cfg.To.String())
		return err
	})
	if err != nil || tr.cfg.Hold {
		return conn, err
	}
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err == nil {
		_ = raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT,
				int(tcpGiveUp.Milliseconds()))
		})
	}
	if err != nil {
		return nil, errors.Join(err, conn.Close())
	}
	return conn, nil
}

func (tr *tcpTransport) read(conn net.Conn) {
	buf := make([]byte, frameLen)
	for {
		if _, err := io.ReadFull(conn, buf); err != nil {
			return
		}
		if f, ok := parseFrame(buf); ok && f.marker == tr.cfg.Marker {
			tr.t.answered(f.seq, f.observed)
		}
	}
}
