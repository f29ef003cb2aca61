package kernel

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"syscall"
	"time"

	rtnl "github.com/vishvananda/netlink"
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// watchBuffer is the size in bytes of the buffers for events. A loss is noticed and costs one
// observation.
const watchBuffer = 1 << 20

// drained is how long a socket must be silent to be known as empty.
var drained = unix.NsecToTimeval((10 * time.Millisecond).Nanoseconds())

// Watch calls notify with a cause whenever something changes that Observe or HostState reads, and
// once at its start. That is links, addresses, routes, rules, filters, queues and an interface's
// forwarding or rp_filter. Causes are for people; several changes may come as one. notify must not
// block. Watch blocks until ctx is done, and then returns nil, or until it can no longer listen.
// Nothing announces changes by the legacy variant of iptables.
func (k *Kernel) Watch(ctx context.Context, notify func(cause string)) error {
	routes, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_LINK,
		unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR,
		unix.RTNLGRP_IPV4_ROUTE, unix.RTNLGRP_IPV6_ROUTE,
		unix.RTNLGRP_IPV4_RULE, unix.RTNLGRP_IPV6_RULE,
		unix.RTNLGRP_IPV4_NETCONF, unix.RTNLGRP_IPV6_NETCONF, unix.RTNLGRP_TC)
	if err != nil {
		return fmt.Errorf("subscribing to routing events: %w", err)
	}
	filters, err := nl.Subscribe(unix.NETLINK_NETFILTER, unix.NFNLGRP_NFTABLES)
	if err != nil {
		routes.Close()
		return fmt.Errorf("subscribing to nftables events: %w", err)
	}
	return k.hear(ctx, map[*nl.NetlinkSocket]func(syscall.NetlinkMessage) string{
		routes: routeCause, filters: filterCause,
	}, func(cause string) {
		if changedFilters(cause) {
			k.filterChanges.Add(1)
		}
		notify(cause)
	})
}

// WatchNeighbours calls met with each new or changed entry of the neighbour table until ctx is
// done. Entries are as Neighbours returns them. It then returns nil. met must not block. Events may
// be lost.
func (k *Kernel) WatchNeighbours(ctx context.Context, met func(Neighbour)) error {
	socket, err := nl.Subscribe(unix.NETLINK_ROUTE, unix.RTNLGRP_NEIGH)
	if err != nil {
		return fmt.Errorf("subscribing to neighbours: %w", err)
	}
	return k.hear(ctx, map[*nl.NetlinkSocket]func(syscall.NetlinkMessage) string{
		socket: func(m syscall.NetlinkMessage) string {
			if m.Header.Type != unix.RTM_NEWNEIGH {
				return ""
			}
			if n, err := rtnl.NeighDeserialize(m.Data); err == nil {
				if known, ok := neighbourOf(*n); ok {
					met(known)
				}
			}
			return ""
		},
	}, func(string) {})
}

// hear listens to sockets until ctx is done or one of them fails, and closes them. notify gets what
// describes a message, if anything does.
func (k *Kernel) hear(ctx context.Context,
	sockets map[*nl.NetlinkSocket]func(syscall.NetlinkMessage) string,
	notify func(cause string)) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	var listeners sync.WaitGroup
	for socket, describe := range sockets {
		if err := socket.SetReceiveBufferSize(watchBuffer, true); err != nil {
			k.log.Debug("enlarging the buffer for events failed", "error", err)
		}
		listeners.Go(func() { stop(listen(socket, describe, notify)) })
	}
	notify(watching)
	<-ctx.Done()
	for socket := range sockets {
		socket.Close() // ends its listener
	}
	listeners.Wait()
	if err := context.Cause(ctx); !errors.Is(err, ctx.Err()) {
		return fmt.Errorf("listening to the kernel: %w", err)
	}
	return nil
}

// listen notifies until the socket fails or is closed.
func listen(socket *nl.NetlinkSocket, describe func(syscall.NetlinkMessage) string,
	notify func(string)) error {
	lost := false
	for {
		msgs, from, err := socket.Receive()
		switch {
		case errors.Is(err, unix.ENOBUFS):
			// The kernel reports this once and drops events until its queue has been read
			// (af_netlink.c, NETLINK_S_CONGESTED). Only then is it time to observe.
			lost = true
			err = socket.SetReceiveTimeout(&drained)
		case lost && errors.Is(err, unix.EAGAIN):
			lost = false
			notify(eventsLost)
			err = socket.SetReceiveTimeout(&unix.Timeval{})
		}
		if err != nil {
			return err
		}
		last := ""
		for _, m := range msgs {
			if cause := describe(m); cause != "" && cause != last && from.Pid == nl.PidKernel {
				notify(cause)
				last = cause
			}
		}
	}
}

// routeCause returns "" for changes that do not matter here.
func routeCause(m syscall.NetlinkMessage) string {
	switch m.Header.Type {
	case unix.RTM_NEWLINK, unix.RTM_DELLINK:
		return "link"
	case unix.RTM_NEWADDR, unix.RTM_DELADDR:
		return "address"
	case unix.RTM_NEWNETCONF:
		return "sysctl" // forwarding, rp_filter and the like of an interface
	case unix.RTM_NEWQDISC, unix.RTM_DELQDISC:
		return "queue"
	case unix.RTM_NEWRULE, unix.RTM_DELRULE:
		return "rule"
	case unix.RTM_NEWROUTE, unix.RTM_DELROUTE:
		if len(m.Data) < unix.SizeofRtMsg {
			return ""
		}
		// Table local follows the addresses; clones are the kernel's cache.
		msg := nl.DeserializeRtMsg(m.Data)
		if msg.Table == unix.RT_TABLE_LOCAL || msg.Flags&unix.RTM_F_CLONED != 0 {
			return ""
		}
		return "route"
	}
	return ""
}

// FilterChanges returns a number that grows whenever Watch learns that another program changed
// filters, or may have done so.
func (k *Kernel) FilterChanges() uint64 { return k.filterChanges.Load() }

// changedFilters reports whether a cause says that.
func changedFilters(cause string) bool {
	return cause == eventsLost ||
		strings.HasPrefix(cause, filterChanged) && !strings.HasSuffix(cause, ", by ztbridge")
}

// Causes that are not the name of an object alone.
const (
	watching      = "watching the kernel"
	eventsLost    = "events of the kernel were lost"
	filterChanged = "filter"
)

// filterCause returns one cause for each transaction, with the program that made it.
func filterCause(m syscall.NetlinkMessage) string {
	if m.Header.Type != unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_NEWGEN || len(m.Data) < 4 {
		return ""
	}
	for _, a := range attributes(m.Data[4:]) {
		if a.Type == unix.NFTA_GEN_PROC_NAME {
			return filterChanged + ", by " + unix.ByteSliceToString(a.Data)
		}
	}
	return filterChanged
}
