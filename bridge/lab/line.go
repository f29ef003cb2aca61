package lab

import (
	"errors"
	"os"
	"sync"
	"time"

	"ztbridge/policyroute/netlab"
)

// Line is what a real line has and a veth pair has not, the same both ways. It does what
// tc-netem(8) does, which not every kernel has.
type Line struct {
	Delay time.Duration // of each frame, one way, beside its wait for those before it
	Mbit  float64       // the rate, in Mbit/s
	Queue time.Duration // a frame that would wait longer for those before it is dropped
}

// Stretch replaces an existing link by one with the same names, addresses and routes and the line's
// delay and rate. The caller must call stop, which takes it away, before it closes the namespaces;
// Lab.Defer does. Frames are carried by goroutines of this process, which takes some 5 µs for each:
// lines of up to some hundred Mbit/s.
func Stretch(link *netlab.Link, line Line) (stop func() error, err error) {
	a, b, err := link.Taps()
	if err != nil {
		return nil, err
	}
	var directions sync.WaitGroup
	directions.Go(func() { line.carry(a, b) })
	directions.Go(func() { line.carry(b, a) })
	return func() error {
		err := errors.Join(a.Close(), b.Close())
		directions.Wait()
		return err
	}, nil
}

// parcel is a frame on its way.
type parcel struct {
	frame   []byte
	arrives time.Time
}

// carry moves frames one way, until one of the ends is closed or gone.
func (l Line) carry(from, to *os.File) {
	const frames = 1 << 16 // more than are ever on a line: what is dropped is for the queue to say
	queue := make(chan parcel, frames)
	var far sync.WaitGroup
	far.Go(func() {
		for p := range queue {
			time.Sleep(time.Until(p.arrives))
			_, _ = to.Write(p.frame) // an interface that is down takes nothing
		}
	})
	defer far.Wait()
	defer close(queue)
	buf := make([]byte, 1<<16)
	free := time.Now() // when the last frame has left
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		now := time.Now()
		if free.Before(now) {
			free = now
		}
		if free.Sub(now) > l.Queue {
			continue
		}
		free = free.Add(time.Duration(float64(8*n) / l.Mbit * float64(time.Microsecond)))
		queue <- parcel{append([]byte(nil), buf[:n]...), free.Add(l.Delay)}
	}
}
