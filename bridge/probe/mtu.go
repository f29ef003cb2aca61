package probe

import (
	"context"
	"net/netip"
	"time"
)

const (
	// mtuEvery is how often the path MTU is measured anew; a path changes seldom.
	mtuEvery = 10 * time.Minute
	// mtuRetry is how soon after a measurement without result.
	mtuRetry = 30 * time.Second
	// mtuTries is how many echoes of one size may go unanswered before it counts as too big.
	mtuTries = 2
)

// mtuSizes are the sizes worth asking for, largest first: Ethernet, PPPoE, common tunnels, one
// ZeroTier packet (1394), WireGuard, IPv6's minimum.
var mtuSizes = []int{1500, 1492, 1472, 1450, 1420, 1394, 1360, 1320, 1280, 1200}

// pathMTU returns the size in bytes of the largest IPv4 packet that a target answered with DF set, by
// bisection over mtuSizes, or 0 if it could not be found. It blocks for up to about a second.
func (e *echoer) pathMTU(ctx context.Context, targets []netip.Addr, timeout time.Duration) int {
	var echoes []netip.Addr
	for _, t := range targets {
		if t.Is4() {
			echoes = append(echoes, t)
		}
	}
	if len(echoes) == 0 {
		return 0
	}
	low, high := 0, len(mtuSizes) // the answer is the first size in [low, high) that passes
	for low < high {
		mid := (low + high) / 2
		if e.fits(ctx, echoes, mtuSizes[mid], timeout) {
			high = mid
		} else {
			low = mid + 1
		}
		if ctx.Err() != nil {
			return 0
		}
	}
	if low == len(mtuSizes) {
		return 0
	}
	return mtuSizes[low]
}

func (e *echoer) fits(ctx context.Context, targets []netip.Addr, size int, timeout time.Duration) bool {
	for range mtuTries {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		e.seq, e.late = e.seq+1, 0 // the answer to an echo of another size proves nothing
		err := e.ping(ctx, targets, false, size)
		cancel()
		if err == nil {
			return true
		}
	}
	return false
}
