package history

import (
	"encoding/binary"
	"errors"
	"time"
)

// minutes is the number of samples of a block: one hour.
const minutes = 60

// sample is what one thing did in one minute. The zero sample is one that nobody took.
type sample struct {
	taken, up bool
	in, out   uint64 // bytes
	rtt       uint64 // in units of 100 µs; 0: no probe answered
	loss      uint64 // in percent
}

// block is one hour of samples, in memory one for each minute.
type block [minutes]sample

// steps are the resolutions of a stored block, in minutes: divisors of an hour.
var steps = []int{1, 2, 3, 5, 10, 20, 60}

// encode writes a block with one sample for each step:
//
//	step, then for each: 0 not taken | 1 taken, down | 2 taken, up; in, out, rtt, loss
func (b *block) encode(step int) []byte {
	out := []byte{byte(step)}
	for at := 0; at < minutes; at += step {
		s, n := merge(b[at : at+step])
		if n == 0 {
			out = append(out, 0)
			continue
		}
		flag := uint64(1)
		if s.up {
			flag = 2
		}
		for _, v := range []uint64{flag, s.in, s.out, s.rtt, s.loss} {
			out = binary.AppendUvarint(out, v)
		}
	}
	return out
}

var errBlock = errors.New("a block of the history cannot be read")

// decode reads what encode wrote. A longer step is spread over its minutes.
func (b *block) decode(data []byte) error {
	*b = block{}
	if len(data) == 0 || data[0] == 0 || minutes%int(data[0]) != 0 {
		return errBlock
	}
	step := int(data[0])
	data = data[1:]
	next := func() uint64 {
		v, n := binary.Uvarint(data)
		if n <= 0 {
			data = nil
			return 0
		}
		data = data[n:]
		return v
	}
	for at := 0; at < minutes; at += step {
		if len(data) == 0 {
			return errBlock
		}
		flag := next()
		if flag == 0 {
			continue
		}
		s := sample{taken: true, up: flag == 2, in: next(), out: next(), rtt: next(), loss: next()}
		for i := range step {
			part := s
			part.in, part.out = share(s.in, step, i), share(s.out, step, i)
			b[at+i] = part
		}
	}
	return nil
}

// share divides a sum into parts that add up to it.
func share(sum uint64, parts, i int) uint64 {
	each := sum / uint64(parts)
	if i == 0 {
		return sum - each*uint64(parts-1)
	}
	return each
}

// merge makes one sample of several, and returns how many were taken: sums of bytes, means of the
// rest, up if it mostly was.
func merge(list []sample) (sample, int) {
	var s sample
	var n, up, rtts int
	for _, one := range list {
		if !one.taken {
			continue
		}
		n++
		s.in, s.out, s.loss = s.in+one.in, s.out+one.out, s.loss+one.loss
		if one.up {
			up++
		}
		if one.rtt > 0 {
			rtts++
			s.rtt += one.rtt
		}
	}
	if n == 0 {
		return sample{}, 0
	}
	s.taken, s.up, s.loss = true, 2*up >= n, s.loss/uint64(n)
	if rtts > 0 {
		s.rtt /= uint64(rtts)
	}
	return s, n
}

// overlay puts the taken samples of b over those of an older record of the same hour.
func (b *block) overlay(old block) {
	for i := range b {
		if !b[i].taken {
			b[i] = old[i]
		}
	}
}

// hourKey orders hours as bytes.
func hourKey(at time.Time) []byte {
	return binary.BigEndian.AppendUint32(nil, uint32(max(at.Unix(), 0)/3600))
}

func hourOf(key []byte) time.Time {
	if len(key) != 4 {
		return time.Time{}
	}
	return time.Unix(int64(binary.BigEndian.Uint32(key))*3600, 0).UTC()
}
