package kernel

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"ztbridge/policyroute"
)

const sysctlRoot = "/proc/sys/"

// affected lists the keys that the kernel rewrites when a key is written, by pattern below
// /proc/sys. Sources: net/ipv4/devinet.c, inet_forward_change; net/ipv6/addrconf.c,
// addrconf_fixup_forwarding.
var affected = map[string][]string{
	"net/ipv4/ip_forward":          forward4,
	"net/ipv4/conf/all/forwarding": forward4,
	"net/ipv6/conf/all/forwarding": {"net/ipv6/conf/*/forwarding"},
}

// deciding returns the parameter that sets a key for all interfaces at once. It is empty if there
// is none, or if it is the key itself.
func deciding(key string) string {
	part := strings.Split(key, "/")
	if len(part) != 5 || part[2] != "conf" || part[3] == "all" || part[4] != "forwarding" {
		return ""
	}
	part[3] = "all"
	return strings.Join(part, "/")
}

var forward4 = []string{"net/ipv4/conf/*/forwarding", "net/ipv4/ip_forward",
	"net/ipv4/conf/all/accept_redirects"}

// observe returns the present values of the recorded keys that exist, and what was wanted of those
// that this kernel lacks: it would be planned again in each pass. It saves what the disk had no
// space for before.
func (r *record) observe() []policyroute.Sysctl {
	if r.unsaved {
		_ = r.save() // the next look tries again
	}
	var out []policyroute.Sysctl
	for _, o := range r.data.Sysctls {
		if value, err := readSysctl(o.Key); err == nil {
			out = append(out, policyroute.Sysctl{Key: o.Key, Value: enough(o.Key, value)})
		}
	}
	for key, wanted := range r.absent {
		if _, err := readSysctl(key); gone(err) {
			out = append(out, policyroute.Sysctl{Key: key, Value: wanted})
		} else {
			delete(r.absent, key)
		}
	}
	slices.SortFunc(out, func(a, b policyroute.Sysctl) int { return strings.Compare(a.Key, b.Key) })
	return out
}

// set records the present value, if none is recorded, and writes the wanted one.
func (r *record) set(s policyroute.Sysctl) error {
	present, err := readSysctl(s.Key)
	if gone(err) {
		if r.absent == nil {
			r.absent = map[string]string{}
		}
		r.absent[s.Key] = s.Value
		return nil
	}
	if err != nil {
		return err
	}
	if i := r.find(s.Key); i >= 0 && roomier(s.Key, present, r.data.Sysctls[i].Value) {
		r.data.Sysctls[i].Value = present // a person's, since ours is more
		if err := r.trySave(); err != nil {
			return err
		}
	} else if i < 0 {
		o := original{Key: s.Key, Value: r.originalOf(s.Key, present), Also: r.affectedBy(s.Key),
			All: r.decided(s.Key)}
		r.data.Sysctls = append(r.data.Sysctls, o)
		if err := r.trySave(); err != nil {
			r.data.Sysctls = r.data.Sysctls[:len(r.data.Sysctls)-1]
			return err
		}
	}
	if present == s.Value {
		return nil
	}
	return writeSysctl(s.Key, s.Value)
}

// decided returns the value that another program set for all interfaces; empty if there is none.
func (r *record) decided(key string) string {
	all := deciding(key)
	if all == "" {
		return ""
	}
	present, err := readSysctl(all)
	if err != nil {
		return ""
	}
	return r.originalOf(all, present)
}

// forwards reports whether the host, without us, forwards what enters by an interface: because it
// does so for all interfaces, or by the interface's own parameter.
func (r *record) forwards(conf, own, iface string) bool {
	for _, key := range []string{conf + "all/forwarding", conf + iface + "/" + own} {
		if present, err := readSysctl(key); err == nil && r.hostValue(key, present) == "1" {
			return true
		}
	}
	return false
}

// hostValue returns a parameter's value as it would be without us. That is the recorded one, or
// what another program has since set for all interfaces.
func (r *record) hostValue(key, present string) string {
	if i := r.find(key); i >= 0 {
		if o, now := r.data.Sysctls[i], r.decided(key); o.All != "" && now != "" && now != o.All {
			return now
		}
	}
	return r.originalOf(key, present)
}

// restore writes the recorded value back and forgets it. If another program has since set a value
// for all interfaces, as Docker does with ip_forward, the kernel would have overwritten the
// recorded value: that one is written.
func (r *record) restore(key string) error {
	delete(r.absent, key)
	i := r.find(key)
	if i < 0 {
		return nil
	}
	o := r.data.Sysctls[i]
	// A key with a record of its own stays until its own turn.
	values := map[string]string{}
	for k, v := range o.Also {
		if r.find(k) >= 0 {
			present, err := readSysctl(k)
			if err != nil {
				continue
			}
			v = present
		}
		values[k] = v
	}
	o.Value = r.hostValue(o.Key, o.Value)
	if present, err := readSysctl(key); err == nil && enough(key, present) != present {
		o.Value = present
	}
	if err := writeIfDifferent(o.Key, o.Value); err != nil {
		return err
	}
	for k, v := range values {
		if err := writeIfDifferent(k, v); err != nil {
			return err
		}
	}
	r.data.Sysctls = slices.Delete(r.data.Sysctls, i, i+1)
	return r.trySave()
}

// enough returns a parameter's value, or ours of a limit of neighbours that another program has
// raised beyond it: it keeps what it has set.
func enough(key, present string) string {
	if most := strconv.Itoa(policyroute.NeighbourMax); roomier(key, present, most) {
		return most
	}
	return present
}

// roomier reports whether the parameter is a limit of neighbours, and a value more than another.
func roomier(key, value, than string) bool {
	if !slices.ContainsFunc(policyroute.Families[:], func(f policyroute.Family) bool {
		return key == policyroute.NeighbourKey(f)
	}) {
		return false
	}
	a, err := strconv.Atoi(value)
	b, err2 := strconv.Atoi(than)
	return err == nil && err2 == nil && a > b
}

func (r *record) find(key string) int {
	return slices.IndexFunc(r.data.Sysctls, func(o original) bool { return o.Key == key })
}

// originalOf returns the key's value before our first change that affected it.
func (r *record) originalOf(key, present string) string {
	for _, o := range r.data.Sysctls {
		if o.Key == key {
			return o.Value
		}
		if v, ok := o.Also[key]; ok {
			return v
		}
	}
	return present
}

func (r *record) affectedBy(key string) map[string]string {
	out := map[string]string{}
	for _, pattern := range affected[key] {
		paths, _ := filepath.Glob(sysctlRoot + pattern) // the patterns are well-formed
		for _, p := range paths {
			k := strings.TrimPrefix(p, sysctlRoot)
			if present, err := readSysctl(k); err == nil && k != key {
				out[k] = r.originalOf(k, present)
			}
		}
	}
	return out
}

func readSysctl(key string) (string, error) {
	if !filepath.IsLocal(key) {
		return "", fmt.Errorf("reading sysctl %s: not a key", key)
	}
	text, err := os.ReadFile(sysctlRoot + key)
	if err != nil {
		return "", fmt.Errorf("reading sysctl %s: %w", key, err)
	}
	return strings.TrimSpace(string(text)), nil
}

// writeSysctl ignores a key that vanished: its interface is gone, and its value with it.
func writeSysctl(key, value string) error {
	f, err := os.OpenFile(sysctlRoot+key, os.O_WRONLY|os.O_TRUNC, 0)
	if err == nil {
		_, err = f.WriteString(value)
		err = errors.Join(err, f.Close())
	}
	if err != nil && !gone(err) {
		return fmt.Errorf("writing sysctl %s: %w", key, err)
	}
	return nil
}

func writeIfDifferent(key, value string) error {
	present, err := readSysctl(key)
	if gone(err) {
		return nil
	}
	if err != nil || present == value {
		return err
	}
	return writeSysctl(key, value)
}

func gone(err error) bool {
	return errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENODEV)
}
