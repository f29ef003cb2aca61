package kernel

import (
	"encoding/binary"
	"fmt"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

// generation returns the number of nftables transactions in this network namespace
// (NFT_MSG_GETGEN). Every change of a rule raises it, by nft or by iptables in its nftables
// variant: an equal number means an equal ruleset.
type generation struct {
	conn *netlink.Conn
}

func openGeneration() (*generation, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("opening an nftables socket: %w", err)
	}
	return &generation{conn: conn}, nil
}

func (g *generation) close() error { return g.conn.Close() }

func (g *generation) read() (uint32, error) {
	replies, err := g.conn.Execute(netlink.Message{
		Header: netlink.Header{
			Type:  unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETGEN,
			Flags: netlink.Request,
		},
		Data: []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, 0},
	})
	if err != nil {
		return 0, fmt.Errorf("reading the generation of nftables: %w", err)
	}
	for _, m := range replies {
		id, ok := generationOf(m)
		if ok {
			return id, nil
		}
	}
	return 0, fmt.Errorf("reading the generation of nftables: no answer")
}

func generationOf(m netlink.Message) (uint32, bool) {
	if m.Header.Type != unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN || len(m.Data) < 4 {
		return 0, false
	}
	for _, a := range attributes(m.Data[4:]) {
		if a.Type == unix.NFTA_GEN_ID && len(a.Data) == 4 {
			return binary.BigEndian.Uint32(a.Data), true
		}
	}
	return 0, false
}
