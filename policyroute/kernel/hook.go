package kernel

import (
	"fmt"
	"slices"

	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"
)

const (
	// nftaHookDevs and nftaDeviceName are from linux/netfilter/nf_tables.h.
	nftaHookDevs, nftaDeviceName = 4, 1
)

// chainName names a chain of nftables.
type chainName struct {
	family       byte
	table, chain string
}

// hookDevices returns the devices of the chains that belong to some, which the library leaves out.
func hookDevices() (map[chainName][]string, error) {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return nil, fmt.Errorf("opening an nftables socket: %w", err)
	}
	defer conn.Close()
	msgs, err := conn.Execute(netlink.Message{Header: netlink.Header{
		Type:  unix.NFNL_SUBSYS_NFTABLES<<8 | unix.NFT_MSG_GETCHAIN,
		Flags: netlink.Request | netlink.Dump,
	}, Data: make([]byte, 4)}) // nfgenmsg: of every family
	if err != nil {
		return nil, fmt.Errorf("listing the devices of chains: %w", err)
	}
	out := map[chainName][]string{}
	for _, m := range msgs {
		if name, devices := parseHookDevices(m.Data); len(devices) > 0 {
			out[name] = devices
		}
	}
	return out, nil
}

// parseHookDevices reads a chain; what cannot be read belongs to no device.
func parseHookDevices(b []byte) (name chainName, devices []string) {
	if len(b) < 4 {
		return name, nil
	}
	name.family = b[0]
	for _, a := range attributes(b[4:]) {
		switch a.Type {
		case unix.NFTA_CHAIN_TABLE:
			name.table = unix.ByteSliceToString(a.Data)
		case unix.NFTA_CHAIN_NAME:
			name.chain = unix.ByteSliceToString(a.Data)
		case unix.NFTA_CHAIN_HOOK:
			for _, h := range attributes(a.Data) {
				switch h.Type {
				case unix.NFTA_HOOK_DEV:
					devices = append(devices, unix.ByteSliceToString(h.Data))
				case nftaHookDevs:
					for _, d := range attributes(h.Data) {
						if d.Type == nftaDeviceName {
							devices = append(devices, unix.ByteSliceToString(d.Data))
						}
					}
				}
			}
		}
	}
	return name, slices.Compact(devices)
}

// attributes reads a list of attributes, without the flags of their types; nil if it is none.
func attributes(b []byte) []netlink.Attribute {
	list, err := netlink.UnmarshalAttributes(b)
	if err != nil {
		return nil
	}
	for i := range list {
		list[i].Type &^= unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER
	}
	return list
}
