package kernel

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

const (
	// traceTable is the table that marks the packets of a trace. One left by a crash changes no
	// verdict, and the next trace removes it.
	traceTable = policyroute.NftTable + "-trace"
	// traceFirst precedes every other chain: raw, which holds NOTRACK, has -300.
	traceFirst = -450
	// traceReplies follows connection tracking (-200), which knows what a reply answers.
	traceReplies = -199
	// traceLinger is how long after sending the packets reports may still come.
	traceLinger = 50 * time.Millisecond
	// traceBuffer is the size of the buffer for reports, in bytes.
	traceBuffer = 4 << 20
	// ruleTimeout bounds a program that only prints.
	ruleTimeout = 2 * time.Second

	nfnlgrpNftrace = 9  // NFNLGRP_NFTRACE (linux/netfilter/nfnetlink.h)
	nftMsgTrace    = 17 // NFT_MSG_TRACE (linux/netfilter/nf_tables.h)

	// types and attributes of a trace, from the same header
	traceTypePolicy, traceTypeRule = 1, 3
	traceAttrTable, traceAttrChain = 1, 2
	traceAttrHandle, traceAttrType = 3, 4
	traceAttrVerdict, traceAttrID  = 5, 6
	traceAttrPol                   = 16
	verdictDrop, verdictAccept     = 0, 1
	verdictQueue                   = 3
	verdictAttrCode                = 1
)

// Trace returns the filter that drops packets from src that enter by iface, or the replies to them.
// send sends such packets, and returns when replies should have come; it is called once. Trace
// reports false if no filter dropped any. It blocks as long as send does, and a moment longer. It
// leaves nothing in the kernel.
func (k *Kernel) Trace(ctx context.Context, iface string, src netip.Addr,
	send func(context.Context) error) (Block, bool, error) {
	family := policyroute.FamilyOf(src)
	before := legacyCounters(ctx, family)
	listener, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return Block{}, false, fmt.Errorf("opening an nftables socket: %w", err)
	}
	defer listener.Close()
	// Each rule that a packet meets is reported: some hundreds in all. A smaller buffer loses some.
	_ = listener.SetReadBuffer(traceBuffer)
	if err := listener.JoinGroup(nfnlgrpNftrace); err != nil {
		return Block{}, false, fmt.Errorf("listening to traces: %w", err)
	}
	mark, err := k.nft.dial()
	if err != nil {
		return Block{}, false, err
	}
	defer mark.CloseLasting()
	table := &nftables.Table{Name: traceTable, Family: nftables.TableFamilyINet}
	if err := markForTrace(mark, table, iface, src); err != nil {
		return Block{}, false, fmt.Errorf("marking packets to be traced: %w", err)
	}
	defer func() {
		mark.DelTable(table)
		if err := mark.Flush(); err != nil {
			k.log.Warn("removing the table of a trace failed", "error", err)
		}
	}()
	found := make(chan *tracePoint, 1)
	go func() { found <- firstDrop(listener) }()
	sent := send(ctx)
	_ = listener.SetReadDeadline(time.Now().Add(traceLinger))
	drop := <-found
	if sent != nil {
		return Block{}, false, fmt.Errorf("sending packets to be traced: %w", sent)
	}
	if drop != nil {
		return k.describe(ctx, *drop), true, nil
	}
	b, ok := legacyBlock(before, legacyCounters(ctx, family), family)
	return b, ok, nil
}

// markForTrace has the kernel report what happens to the packets, and to the replies.
func markForTrace(conn *nftables.Conn, table *nftables.Table, iface string, src netip.Addr) error {
	conn.AddTable(table) // or there may be none to delete
	conn.DelTable(table)
	conn.AddTable(table)
	family := policyroute.FamilyOf(src)
	for _, c := range []struct {
		name     string
		hook     *nftables.ChainHook
		priority nftables.ChainPriority
		of       []expr.Any
		address  expr.Any
	}{
		{"question", nftables.ChainHookPrerouting, traceFirst,
			ifname(expr.MetaKeyIIFNAME, iface), addressField(family, offSaddr4, offSaddr6)},
		// before routing, a reply still goes to the address that the source was translated to
		{"reply", nftables.ChainHookPrerouting, traceReplies, nil,
			&expr.Ct{Key: expr.CtKeySRC, Direction: ctDirectionOriginal, Register: reg}},
		{"answer", nftables.ChainHookForward, traceFirst,
			ifname(expr.MetaKeyOIFNAME, iface), addressField(family, offDaddr4, offDaddr6)},
	} {
		chain := conn.AddChain(&nftables.Chain{Name: c.name, Table: table,
			Type: nftables.ChainTypeFilter, Hooknum: c.hook, Priority: &c.priority})
		conn.AddRule(&nftables.Rule{Table: table, Chain: chain,
			Exprs: slices.Concat(c.of, nfproto(family), []expr.Any{c.address, eq(src.AsSlice()),
				&expr.Immediate{Register: reg, Data: []byte{1}},
				&expr.Meta{Key: expr.MetaKeyNFTRACE, SourceRegister: true, Register: reg}})})
	}
	return conn.Flush()
}

// tracePoint is one report of a trace.
type tracePoint struct {
	family       byte
	table, chain string
	base         string // the chain of the same table that was entered first
	handle       uint64 // of the rule; 0: the policy of the chain
	queued       bool
	id           string // of the packet
}

// firstDrop returns the first report of a dropped packet, nil if there was none until the
// listener's deadline.
func firstDrop(listener *netlink.Conn) *tracePoint {
	base := map[string]string{}
	for {
		msgs, err := listener.Receive()
		if errors.Is(err, unix.ENOBUFS) {
			continue // some were lost: the same packet is sent more than once
		}
		if err != nil {
			return nil
		}
		for _, m := range msgs {
			p, verdict, ok := parseTrace(m)
			if !ok {
				continue
			}
			at := fmt.Sprint(p.id, p.family, p.table) // reports of several packets mix
			if base[at] == "" {
				base[at] = p.chain
			}
			p.base = base[at]
			switch verdict {
			case verdictDrop:
				return &p
			case verdictQueue:
				p.queued = true
				return &p
			}
			if p.handle == 0 || verdict == verdictAccept { // of this chain: the next begins again
				delete(base, at)
			}
		}
	}
}

// parseTrace reads a report; false if it is not about a rule or a policy.
func parseTrace(m netlink.Message) (p tracePoint, verdict int32, ok bool) {
	if m.Header.Type != unix.NFNL_SUBSYS_NFTABLES<<8|nftMsgTrace || len(m.Data) < 4 {
		return p, 0, false
	}
	p.family, verdict = m.Data[0], 1
	kind := uint32(0)
	for _, a := range attributes(m.Data[4:]) {
		switch a.Type {
		case traceAttrTable:
			p.table = unix.ByteSliceToString(a.Data)
		case traceAttrChain:
			p.chain = unix.ByteSliceToString(a.Data)
		case traceAttrHandle:
			if len(a.Data) == 8 {
				p.handle = binary.BigEndian.Uint64(a.Data)
			}
		case traceAttrID:
			p.id = string(a.Data)
		case traceAttrType:
			if len(a.Data) == 4 {
				kind = binary.BigEndian.Uint32(a.Data)
			}
		case traceAttrVerdict:
			verdict = verdictOf(a.Data)
		case traceAttrPol:
			if len(a.Data) == 4 {
				verdict = int32(binary.BigEndian.Uint32(a.Data))
			}
		}
	}
	return p, verdict, kind == traceTypePolicy || kind == traceTypeRule
}

func verdictOf(nested []byte) int32 {
	for _, a := range attributes(nested) {
		if a.Type == verdictAttrCode && len(a.Data) == 4 {
			// the lower half: the upper one holds the number of a queue
			return int32(binary.BigEndian.Uint32(a.Data)) & 0xffff
		}
	}
	return verdictAccept
}

// describe adds what a person needs to find the rule.
func (k *Kernel) describe(ctx context.Context, p tracePoint) Block {
	family := map[byte]string{unix.NFPROTO_INET: "inet", unix.NFPROTO_IPV4: "ip",
		unix.NFPROTO_IPV6: "ip6", unix.NFPROTO_BRIDGE: "bridge",
		unix.NFPROTO_NETDEV: "netdev"}[p.family]
	b := Block{Program: "nft", Table: family + " " + p.table, Chain: p.chain, Base: p.base,
		Queued: p.queued, Ours: family == "inet" && p.table == policyroute.NftTable}
	if program := iptablesOf(family, p); program != "" {
		b.Program, b.Table = program, p.table
	}
	if chain, err := k.chainOf(p); err == nil {
		b.Hook = hookOf(chain)
	}
	if p.handle != 0 {
		b.Rule = fmt.Sprintf("handle %d", p.handle)
		if text, err := ruleText(ctx, family, p); err == nil {
			b.Rule = text
		} else {
			k.log.Debug("printing a rule failed", "error", err)
		}
	}
	return b
}

// ruleText returns the rule as nft prints it: its expressions can be anything that nft knows.
func ruleText(ctx context.Context, family string, p tracePoint) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, ruleTimeout)
	defer cancel()
	out, err := exec.CommandContext(ctx, "nft", "--handle", "list", "chain", family, p.table,
		p.chain).Output()
	if err != nil {
		return "", fmt.Errorf("listing chain %s: %w", p.chain, err)
	}
	suffix := fmt.Sprintf(" # handle %d", p.handle)
	for line := range strings.Lines(string(out)) {
		if text, ok := strings.CutSuffix(strings.TrimRight(line, "\n"), suffix); ok {
			return strings.TrimSpace(text), nil
		}
	}
	return "", errors.New("the rule is gone")
}

// iptablesOf returns the program whose table it is, "" for nft's own: what nft adds to one of
// those, iptables cannot print any more.
func iptablesOf(family string, p tracePoint) string {
	if !slices.Contains([]string{"filter", "mangle", "raw", "nat", "security"}, p.table) ||
		legacyHooks[p.base] == "" {
		return ""
	}
	return map[string]string{"ip": "iptables-nft", "ip6": "ip6tables-nft"}[family]
}

// chainOf reads the chain by which packets came into the table.
func (k *Kernel) chainOf(p tracePoint) (*nftables.Chain, error) {
	conn, err := k.nft.dial()
	if err != nil {
		return nil, err
	}
	defer conn.CloseLasting()
	return conn.ListChain(&nftables.Table{Name: p.table, Family: nftables.TableFamily(p.family)},
		p.base)
}
