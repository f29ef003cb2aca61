package kernel

import (
	"bytes"
	"encoding/binary"
	"math/bits"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

// intervals translates the elements of a verdict map into the kernel's open-ended form. Each range
// becomes its first key and the first key after it.
func intervals(elements []policyroute.VerdictElement) []nftables.SetElement {
	out := make([]nftables.SetElement, 0, 2*len(elements))
	verdicts := map[string]*expr.Verdict{} // thousands of elements share a few
	for _, e := range elements {
		if verdicts[e.Chain] == nil {
			verdicts[e.Chain] = &expr.Verdict{Kind: expr.VerdictGoto, Chain: e.Chain}
		}
		out = append(out, nftables.SetElement{Key: e.First.AsSlice(),
			VerdictData: verdicts[e.Chain]})
		if behind := e.Last.Next(); behind.IsValid() {
			out = append(out, nftables.SetElement{Key: behind.AsSlice(), IntervalEnd: true})
		}
	}
	return out
}

// elements reads the ranges of a verdict map back, sorted. It refuses an element that intervals
// does not make.
func elements(raw []nftables.SetElement) ([]policyroute.VerdictElement, bool) {
	type key struct {
		addr  netip.Addr
		end   bool
		chain string
	}
	keys := make([]key, 0, len(raw))
	for _, e := range raw {
		addr, ok := netip.AddrFromSlice(e.Key)
		chain, isGoto := gotoTarget(e.Val)
		if !ok || (!e.IntervalEnd && !isGoto) {
			return nil, false
		}
		keys = append(keys, key{addr, e.IntervalEnd, chain})
	}
	slices.SortFunc(keys, func(a, b key) int {
		if c := a.addr.Compare(b.addr); c != 0 {
			return c
		}
		if a.end == b.end {
			return 0
		}
		if a.end {
			return -1
		}
		return 1
	})
	var out []policyroute.VerdictElement
	for i, k := range keys {
		if k.end {
			continue
		}
		last := lastAddr(k.addr)
		if i+1 < len(keys) {
			last = keys[i+1].addr.Prev()
		}
		out = append(out, policyroute.VerdictElement{First: k.addr, Last: last, Chain: k.chain})
	}
	return out, true
}

func lastAddr(a netip.Addr) netip.Addr {
	all := bytes.Repeat([]byte{0xff}, a.BitLen()/8)
	last, _ := netip.AddrFromSlice(all)
	return last
}

// gotoTarget reads the chain out of an element's verdict, which the library leaves undecoded.
func gotoTarget(data []byte) (string, bool) {
	var chain string
	found := false
	for _, a := range attributes(data) {
		switch a.Type {
		case unix.NFTA_VERDICT_CODE:
			found = len(a.Data) == 4 &&
				int32(binary.BigEndian.Uint32(a.Data)) == int32(expr.VerdictGoto)
		case unix.NFTA_VERDICT_CHAIN:
			chain = string(bytes.TrimRight(a.Data, "\x00"))
		}
	}
	return chain, found
}

func prefixLength(mask []byte) (int, bool) {
	ones, ended := 0, false
	for _, b := range mask {
		lead := bits.LeadingZeros8(^b)
		if (ended && b != 0) || b<<lead != 0 {
			return 0, false
		}
		ones += lead
		ended = ended || lead < 8
	}
	return ones, true
}

func allZero(data []byte) bool { return len(bytes.Trim(data, "\x00")) == 0 }
