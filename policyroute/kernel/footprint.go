package kernel

import (
	"cmp"
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables"
	"github.com/mdlayher/netlink"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

// The nftables variant of iptables makes table filter and its built-in chains at first use, and
// never removes them. To leave the host as it was, we record which were absent before our first
// chain, and remove those that are still empty at the end.

var builtinChains = []string{"INPUT", "FORWARD", "OUTPUT"}

var filterFamilies = map[string]nftables.TableFamily{
	"ip":  nftables.TableFamilyIPv4,
	"ip6": nftables.TableFamilyIPv6,
}

// Only the legacy variant sees its own chains, so we record its use as well.

// noteFootprint records what our first chain of a family may create. The family's iptables was
// found.
func (k *Kernel) noteFootprint(f policyroute.Family) error {
	data := k.record.data
	switch legacy := !k.ipt.families[f].nftables; {
	case legacy && slices.Contains(data.Legacy, f.String()), !legacy && data.Absent != nil:
		return nil
	case legacy:
		data.Legacy = append(slices.Clone(data.Legacy), f.String())
	default:
		absent, err := k.absentChains()
		if err != nil {
			return err
		}
		data.Absent = absent
	}
	before := k.record.data
	k.record.data = data
	if err := k.record.trySave(); err != nil {
		k.record.data = before
		return err
	}
	return nil
}

// absentChains never returns nil without an error.
func (k *Kernel) absentChains() ([]string, error) {
	conn, err := k.nft.dial()
	if err != nil {
		return nil, err
	}
	defer conn.CloseLasting()
	absent := []string{}
	for name, family := range filterFamilies {
		tables, err := conn.ListTablesOfFamily(family)
		if err != nil {
			return nil, fmt.Errorf("listing nftables tables: %w", err)
		}
		if !slices.ContainsFunc(tables,
			func(t *nftables.Table) bool { return t.Name == filterTable }) {
			absent = append(absent, name)
		}
		chains, err := conn.ListChainsOfTableFamily(family)
		if err != nil {
			return nil, fmt.Errorf("listing nftables chains: %w", err)
		}
		for _, builtin := range builtinChains {
			if findChain(chains, builtin) == nil {
				absent = append(absent, name+" "+builtin)
			}
		}
	}
	slices.Sort(absent)
	return absent, nil
}

// chainsLeft returns an error if our chains may be left where the other variant of iptables does
// not see them.
func (k *Kernel) chainsLeft(unseen []policyroute.Unseen) error {
	if len(unseen) == 0 {
		return nil
	}
	conn, err := k.nft.dial()
	if err != nil {
		return err
	}
	defer conn.CloseLasting()
	var errs error
	for _, u := range unseen {
		if slices.Contains(k.record.data.Legacy, u.Family.String()) {
			why := cmp.Or(u.Why, errAbsent.Error())
			errs = errors.Join(errs,
				fmt.Errorf("removing %s chains of iptables' legacy variant: %w: %s", u.Family,
					ErrNoIPTables, why))
		}
		family := nftables.TableFamilyIPv4
		if u.Family == policyroute.V6 {
			family = nftables.TableFamilyIPv6
		}
		chains, err := conn.ListChainsOfTableFamily(family)
		if err != nil {
			return fmt.Errorf("listing nftables chains: %w", err)
		}
		for _, ours := range []string{policyroute.ChainForward, policyroute.ChainInput} {
			if findChain(chains, ours) != nil {
				errs = errors.Join(errs,
					fmt.Errorf("removing %s chain %s: %w: %s", u.Family, ours, ErrNoIPTables,
						u.Why))
			}
		}
	}
	return errs
}

func findChain(chains []*nftables.Chain, name string) *nftables.Chain {
	i := slices.IndexFunc(chains, func(c *nftables.Chain) bool {
		return c.Table.Name == filterTable && c.Name == name
	})
	if i < 0 {
		return nil
	}
	return chains[i]
}

// removeFootprint removes objects that iptables made for us and nobody else uses. The kernel itself
// refuses to remove objects in use, so that no foreign rule is lost in between.
func (k *Kernel) removeFootprint() error {
	if len(k.record.data.Absent) == 0 {
		return nil
	}
	conn, err := k.nft.dial()
	if err != nil {
		return err
	}
	defer conn.CloseLasting()
	for name, family := range filterFamilies {
		chains, err := conn.ListChainsOfTableFamily(family)
		if err != nil {
			return fmt.Errorf("listing nftables chains: %w", err)
		}
		for _, builtin := range builtinChains {
			c := findChain(chains, builtin)
			unused := c != nil && c.Policy != nil && *c.Policy == nftables.ChainPolicyAccept
			if unused && slices.Contains(k.record.data.Absent, name+" "+builtin) {
				err = errors.Join(err, deleteUnused(unix.NFT_MSG_DELCHAIN, family, builtin))
			}
		}
		if slices.Contains(k.record.data.Absent, name) {
			err = errors.Join(err, deleteUnused(unix.NFT_MSG_DELTABLE, family, ""))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// deleteUnused deletes table filter, or a chain of it, unless something is in it.
func deleteUnused(kind uint16, family nftables.TableFamily, chain string) error {
	conn, err := netlink.Dial(unix.NETLINK_NETFILTER, nil)
	if err != nil {
		return fmt.Errorf("opening an nftables socket: %w", err)
	}
	defer conn.Close()
	// NFTA_TABLE_NAME and NFTA_CHAIN_TABLE are the same number.
	attrs := []netlink.Attribute{{Type: unix.NFTA_TABLE_NAME, Data: []byte(filterTable + "\x00")}}
	if chain != "" {
		attrs = append(attrs, netlink.Attribute{Type: unix.NFTA_CHAIN_NAME,
			Data: []byte(chain + "\x00")})
	}
	data, err := netlink.MarshalAttributes(attrs)
	if err != nil {
		return err
	}
	batch := []byte{unix.AF_UNSPEC, unix.NFNETLINK_V0, 0, unix.NFNL_SUBSYS_NFTABLES}
	_, err = conn.SendMessages([]netlink.Message{
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_BEGIN, Flags: netlink.Request},
			Data: batch},
		{
			Header: netlink.Header{
				Type:  netlink.HeaderType(unix.NFNL_SUBSYS_NFTABLES<<8 | kind),
				Flags: netlink.Request | netlink.Acknowledge | unix.NLM_F_NONREC,
			},
			Data: append([]byte{byte(family), unix.NFNETLINK_V0, 0, 0}, data...),
		},
		{Header: netlink.Header{Type: unix.NFNL_MSG_BATCH_END, Flags: netlink.Request},
			Data: batch},
	})
	if err == nil {
		_, err = conn.Receive()
	}
	if err != nil && !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("removing unused table filter: %w", err)
	}
	return nil
}
