package kernel

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

const (
	fqCoDel = "fq_codel"
	cake    = "cake"
	// cakeBaseRate is TCA_CAKE_BASE_RATE64 of linux/pkt_sched.h, in bytes a second.
	cakeBaseRate = 2
	// queueHandle marks the queue that shapes a device as ours.
	queueHandle = policyroute.QueueMajor << 16
)

// Errors of SetQueues.
var (
	// ErrNoQueue reports that the kernel lacks a kind of queue (module sch_cake or sch_fq_codel).
	ErrNoQueue = errors.New("this kernel has no such queue")
	// ErrQueueTaken reports that another program has given the device a queue of its own.
	ErrQueueTaken = errors.New("another program has set a queue on it")
)

// QueueErrors says which devices have not the queues that they should, and why, by name.
type QueueErrors map[string]error

// Error names the devices in the order of their names.
func (e QueueErrors) Error() string {
	var lines []string
	for _, name := range slices.Sorted(maps.Keys(e)) {
		lines = append(lines, fmt.Sprintf("setting the queue of %s: %v", name, e[name]))
	}
	return strings.Join(lines, "\n")
}

// Unwrap returns the errors of all devices.
func (e QueueErrors) Unwrap() []error { return slices.Collect(maps.Values(e)) }

// queue is the root queue of a device.
type queue struct {
	kind   string
	handle uint32 // 0: the kernel's default, which nobody set
	rate   uint64 // of cake, bytes a second
}

func (q queue) ours() bool { return q.kind == cake && q.handle == queueHandle }

// SetQueues gives our TUN devices fq_codel, and each interface of shape, by name, cake with that
// many bits a second. It takes cake of ours from all others; the kernel then gives them its default
// again. What another program set stays. The error is QueueErrors, unless nothing could be seen; no
// device keeps the others from theirs. A kernel without fq_codel is asked for it once: each time it
// would look for a module. Idempotent.
func (k *Kernel) SetQueues(shape map[string]uint64) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	links, err := k.rtnl.LinkList()
	if err != nil {
		return fmt.Errorf("listing links: %w", err)
	}
	roots, err := k.rootQueues()
	if err != nil {
		return err
	}
	errs := QueueErrors{}
	missing := maps.Clone(shape)
	for _, l := range links {
		name, index := l.Attrs().Name, l.Attrs().Index
		root := roots[index]
		delete(missing, name)
		switch bits := shape[name]; {
		case strings.HasPrefix(name, policyroute.TunPrefix):
			if root.kind != fqCoDel {
				err = k.setFqCoDel(index)
			}
		case bits > 0 && root.handle != 0 && !root.ours():
			err = fmt.Errorf("%w (%s)", ErrQueueTaken, root.kind)
		case bits > 0 && (!root.ours() || root.rate != bits/8):
			err = k.setQueue(index, cake, queueHandle,
				nl.NewRtAttr(cakeBaseRate, nl.Uint64Attr(bits/8)))
		case bits == 0 && root.ours():
			err = k.removeQueue(index)
		}
		if err != nil {
			errs[name] = err
			err = nil
		}
	}
	for name := range missing {
		errs[name] = unix.ENODEV
	}
	if len(errs) == 0 {
		return nil
	}
	return errs
}

// setFqCoDel gives a device fq_codel. That it went meanwhile is no error.
func (k *Kernel) setFqCoDel(index int) error {
	if k.noFqCoDel != nil {
		return k.noFqCoDel
	}
	err := k.setQueue(index, fqCoDel, 0, nil)
	switch {
	case errors.Is(err, unix.ENODEV):
		return nil
	case errors.Is(err, ErrNoQueue):
		k.noFqCoDel = err
	}
	return err
}

// removeQueues takes away the queues that shape devices. Those of TUN devices go with them.
func (k *Kernel) removeQueues() error {
	roots, err := k.rootQueues()
	if err != nil {
		return err
	}
	var errs error
	for index, root := range roots {
		if root.ours() {
			errs = errors.Join(errs, k.removeQueue(index))
		}
	}
	return errs
}

// rootQueues returns the root queues of all devices, by index.
func (k *Kernel) rootQueues() (map[int]queue, error) {
	req := k.request(unix.RTM_GETQDISC, unix.NLM_F_DUMP)
	req.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL})
	msgs, err := req.Execute(unix.NETLINK_ROUTE, unix.RTM_NEWQDISC)
	if err != nil {
		return nil, fmt.Errorf("listing queues: %w", err)
	}
	out := map[int]queue{}
	for _, m := range msgs {
		msg := nl.DeserializeTcMsg(m)
		if msg.Parent != rootParent {
			continue
		}
		q := queue{handle: msg.Handle}
		attrs, err := nl.ParseRouteAttr(m[nl.SizeofTcMsg:])
		if err != nil {
			return nil, fmt.Errorf("reading the queues: %w", err)
		}
		for _, a := range attrs {
			switch a.Attr.Type {
			case nl.TCA_KIND:
				q.kind = unix.ByteSliceToString(a.Value)
			case nl.TCA_OPTIONS:
				if q.kind == cake {
					q.rate = cakeRate(a.Value)
				}
			}
		}
		out[int(msg.Ifindex)] = q
	}
	return out, nil
}

// rootParent is TC_H_ROOT.
const rootParent = 0xffffffff

func cakeRate(options []byte) uint64 {
	attrs, err := nl.ParseRouteAttr(options)
	if err != nil {
		return 0
	}
	for _, a := range attrs {
		if a.Attr.Type == cakeBaseRate && len(a.Value) == 8 {
			return nl.NativeEndian().Uint64(a.Value)
		}
	}
	return 0
}

func (k *Kernel) setQueue(index int, kind string, handle uint32, option *nl.RtAttr) error {
	req := k.request(unix.RTM_NEWQDISC, unix.NLM_F_CREATE|unix.NLM_F_REPLACE|unix.NLM_F_ACK)
	req.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(index), Handle: handle,
		Parent: rootParent})
	req.AddData(nl.NewRtAttr(nl.TCA_KIND, nl.ZeroTerminated(kind)))
	if option != nil {
		options := nl.NewRtAttr(nl.TCA_OPTIONS, nil)
		options.AddChild(option)
		req.AddData(options)
	}
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		return fmt.Errorf("%w: %s", ErrNoQueue, kind)
	}
	return err
}

func (k *Kernel) removeQueue(index int) error {
	req := k.request(unix.RTM_DELQDISC, unix.NLM_F_ACK)
	req.AddData(&nl.TcMsg{Family: nl.FAMILY_ALL, Ifindex: int32(index), Handle: queueHandle,
		Parent: rootParent})
	_, err := req.Execute(unix.NETLINK_ROUTE, 0)
	// EINVAL: the root has another handle.
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.EINVAL) {
		return nil
	}
	return err
}
