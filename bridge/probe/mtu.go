package probe

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// mtuEvery is how often it is verified that packets of the path MTU still pass: where they do
	// not, devices connect, and then wait for pages. It costs 1.4 MB a day.
	mtuEvery = 3 * time.Minute
	// mtuAgain is how often it is measured again, as it may have grown.
	mtuAgain = time.Hour
	// mtuRetry is the pause after a measurement without result.
	mtuRetry = 30 * time.Second
	// mtuTries is how often echoes of one size must go unanswered to count as too big, while small
	// ones are answered.
	mtuTries = 3
	// mtuGrace is how much longer than a small echo a big one may take.
	mtuGrace = 100 * time.Millisecond
)

// mtuSizes are the sizes to try, largest first: Ethernet, PPPoE, common tunnels, one ZeroTier
// packet (1394), WireGuard, IPv6's minimum.
var mtuSizes = []int{1500, 1492, 1472, 1450, 1420, 1394, 1360, 1320, 1280, 1200}

// fit reports whether packets of some size pass.
type fit uint8

const (
	unclear fit = iota // nothing was answered, whatever its size
	passes
	tooBig
)

// pathMTU returns the size in bytes of the largest IPv4 packet that was answered with DF set. It is
// 0 if that is not clear. A known size is verified alone; 0 is none. It blocks for up to about a
// second, and if nothing is answered no longer than the timeout.
func (e *echoer) pathMTU(ctx context.Context, targets []netip.Addr, known int,
	timeout time.Duration) int {
	echoes := ofFamily(targets, false)
	if len(echoes) == 0 {
		return 0
	}
	if known != 0 && e.fits(ctx, echoes, known, timeout) != tooBig {
		return known
	}
	return largest(mtuSizes, func(size int) fit { return e.fits(ctx, echoes, size, timeout) })
}

// largest returns, by bisection, the first of the descending sizes that passes. It is 0 if there is
// none or that is unclear.
func largest(sizes []int, try func(size int) fit) int {
	low, high := 0, len(sizes) // the answer is the first size in [low, high) that passes
	for low < high {
		mid := (low + high) / 2
		switch try(sizes[mid]) {
		case passes:
			high = mid
		case tooBig:
			low = mid + 1
		default:
			return 0
		}
	}
	if low == len(sizes) {
		return 0
	}
	return sizes[low]
}

// fits tests one size. Beside each echo of that size it sends a small one: the size is too big only
// if the small one is answered and the big one is not.
func (e *echoer) fits(ctx context.Context, targets []netip.Addr, size int,
	timeout time.Duration) fit {
	for range mtuTries {
		if f := e.compare(ctx, targets, size, timeout); f != tooBig {
			return f
		}
	}
	return tooBig
}

// compare sends one big echo and one small one.
func (e *echoer) compare(ctx context.Context, targets []netip.Addr, size int,
	timeout time.Duration) fit {
	e.forget()
	defer e.forget()
	e.ask()
	big := e.seq
	switch err := e.send(targets, false, size); {
	case errors.Is(err, unix.EMSGSIZE): // larger than the device takes
		return tooBig
	case err != nil:
		return unclear
	}
	e.ask()
	if e.send(targets, false, 0) != nil {
		return unclear
	}
	soon, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	small := e.await(soon, targets, false, func(uint16) bool { return true })
	switch {
	case small.err != nil:
		return unclear
	case small.answered[0] == big:
		return passes
	}
	later, cancel := context.WithTimeout(ctx, mtuGrace+small.rtt)
	defer cancel()
	if r := e.await(later, targets, false,
		func(seq uint16) bool { return seq == big }); slices.Contains(r.answered, big) {
		return passes
	}
	return tooBig
}
