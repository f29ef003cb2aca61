package doctor

import (
	"context"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	// ourProtocol is how ip(8) prints what marks our own rules (policyroute.Protocol).
	ourProtocol = "proto 90"
	// lookupTimeout bounds the resolving of all names.
	lookupTimeout = 5 * time.Second
	// lookupsAtOnce is few enough for the resolver of a home router.
	lookupsAtOnce = 16
)

// Observe looks at the host: it reads, runs programs that only print, and asks the resolver for
// names. files are what the configuration consists of. It changes nothing and blocks for some
// seconds at most; what cannot be seen is left empty.
func Observe(ctx context.Context, files, names []string) Host {
	ctx, cancel := context.WithTimeout(ctx, 2*lookupTimeout)
	defer cancel()
	h := Host{Links: links(), Programs: map[string]Program{}, TUN: tunTrouble("/dev/net/tun"),
		Latest: latest(files)}
	for name, flag := range map[string]string{openvpn: "--version", zerotierOne: "-v"} {
		h.Programs[name] = program(ctx, name, flag)
	}
	for _, family := range []string{"-4", "-6"} {
		main := lines(ctx, "ip", family, "route", "show", "table", "main")
		h.Defaults = append(h.Defaults, defaults(main)...)
		own := addressesOf(h.Links, defaults(main))
		h.Foreign = append(h.Foreign, foreignRules(lines(ctx, "ip", family, "rule", "show"),
			func(table string) bool {
				routes := lines(ctx, "ip", family, "route", "show", "table", table)
				return len(defaults(routes))+len(halves(routes)) > 0
			}, own)...)
		h.Foreign = append(h.Foreign, halves(main)...)
	}
	h.Lookups = lookups(ctx, names, resolve)
	h.Resolvers = resolvers(lines(ctx, "ss", "-Hlntup", "sport", "=", ":53"))
	return h
}

var user = regexp.MustCompile(`users:\(\("([^"]+)"`)

// resolvers reads what ss(8) prints of listening sockets: their local address is the fifth word.
func resolvers(sockets []string) []Resolver {
	var out []Resolver
	for _, line := range sockets {
		words := strings.Fields(line)
		if len(words) < 5 {
			continue
		}
		host, device, _ := strings.Cut(words[4][:max(0, strings.LastIndexByte(words[4], ':'))], "%")
		if host == "*" {
			host = "::"
		}
		addr, err := netip.ParseAddr(strings.Trim(host, "[]"))
		if err != nil {
			continue
		}
		r := Resolver{Addr: addr, Device: device}
		if m := user.FindStringSubmatch(line); m != nil {
			r.Program = m[1]
		}
		if !slices.Contains(out, r) { // once for UDP and TCP
			out = append(out, r)
		}
	}
	return out
}

func links() []Link {
	all, err := net.Interfaces()
	if err != nil {
		return nil
	}
	var out []Link
	for _, i := range all {
		if i.Flags&net.FlagLoopback != 0 {
			continue
		}
		l := Link{Name: i.Name, Up: i.Flags&net.FlagUp != 0 && i.Flags&net.FlagRunning != 0}
		addrs, _ := i.Addrs() // of an interface that went away: none
		for _, a := range addrs {
			if p, err := netip.ParsePrefix(a.String()); err == nil {
				l.Addrs = append(l.Addrs, p)
			}
		}
		// A tunnel or a ZeroTier network needs a link; it is none.
		if !strings.HasPrefix(i.Name, "tun") && !strings.HasPrefix(i.Name, "zt") {
			out = append(out, l)
		}
	}
	return out
}

var number = regexp.MustCompile(`[0-9]+(\.[0-9]+)+[a-z0-9_]*`)

// program finds a program, in sbin too, which is not on everybody's PATH, and asks for its version.
func program(ctx context.Context, name, flag string) Program {
	path, err := exec.LookPath(name)
	for _, dir := range []string{"/usr/sbin", "/usr/local/sbin", "/sbin"} {
		if err != nil {
			path, err = exec.LookPath(filepath.Join(dir, name))
		}
	}
	if err != nil {
		return Program{}
	}
	// openvpn 2.4 prints it and exits with 1
	out, _ := exec.CommandContext(ctx, path, flag).CombinedOutput()
	return Program{Path: path, Version: number.FindString(string(out))}
}

func lines(ctx context.Context, name string, args ...string) []string {
	out, err := exec.CommandContext(ctx, name, args...).Output()
	if err != nil {
		return nil
	}
	var list []string
	for line := range strings.Lines(string(out)) {
		list = append(list, strings.Join(strings.Fields(line), " "))
	}
	return list
}

func defaults(main []string) []string {
	var out []string
	for _, line := range main {
		if strings.HasPrefix(line, "default ") {
			out = append(out, line)
		}
	}
	return out
}

// halves returns routes that cover half of all addresses or most of IPv6: so VPNs get in before the
// default route.
func halves(main []string) []string {
	var out []string
	for _, line := range main {
		dst, _, _ := strings.Cut(line, " ")
		if slices.Contains([]string{"0.0.0.0/1", "128.0.0.0/1", "::/1", "8000::/1", "2000::/3"},
			dst) {
			out = append(out, line)
		}
	}
	return out
}

// kept matches our rules that pass for the kernel's own (policyroute.RuleKept and those after it).
var kept = regexp.MustCompile(`^3270[02]: .* unreachable$|` +
	`^32701: from all to \S+ lookup main suppress_prefixlength \d+$`)

// foreignRules returns other programs' rules that may lead this box's traffic elsewhere. leads
// reports whether a table has routes to the Internet: those of a mesh VPN lead to its members. own
// are the addresses that this box's traffic to the Internet is sent from.
func foreignRules(rules []string, leads func(table string) bool, own []netip.Addr) []string {
	var out []string
	for _, line := range rules {
		priority, rest, _ := strings.Cut(line, ": ")
		kernels := priority == "0" || priority == "32766" || priority == "32767"
		ours := strings.HasSuffix(rest, ourProtocol) || kept.MatchString(line)
		_, table, looksUp := strings.Cut(rest, " lookup ")
		table, _, _ = strings.Cut(table, " ")
		harmless := looksUp && (table == "main" || table == "default" || !leads(table)) ||
			ofOthers(rest, own)
		if !kernels && !ours && !harmless && !slices.Contains(out, "rule "+line) {
			out = append(out, "rule "+line)
		}
	}
	return out
}

// ofOthers reports whether a rule's selectors leave out what this box sends to the Internet: it
// takes what entered by an interface, has a mark of its program, goes to one network, or is sent
// from addresses that are not own.
func ofOthers(rule string, own []netip.Addr) bool {
	words := strings.Fields(rule)
	for i, word := range words[:max(0, len(words)-1)] {
		value := words[i+1]
		network, err := netip.ParsePrefix(value)
		if a, failed := netip.ParseAddr(value); err != nil && failed == nil {
			network, err = netip.PrefixFrom(a, a.BitLen()), nil
		}
		switch {
		case word == "not":
			return false
		case word == "iif" && value != "lo", word == "fwmark" && !strings.HasPrefix(value, "0/"),
			word == "to" && err == nil && network.Bits() >= leastNetwork,
			word == "from" && err == nil && len(own) > 0 &&
				!slices.ContainsFunc(own, network.Contains):
			return true
		}
	}
	return false
}

// leastNetwork is the shortest prefix of a destination that stands for a network, not for most of
// the Internet.
const leastNetwork = 8

// addressesOf returns the addresses of the interfaces of default routes.
func addressesOf(links []Link, defaults []string) (out []netip.Addr) {
	for _, l := range links {
		if slices.ContainsFunc(defaults, func(route string) bool {
			return strings.Contains(route+" ", " dev "+l.Name+" ")
		}) {
			for _, p := range l.Addrs {
				out = append(out, p.Addr())
			}
		}
	}
	return out
}

func tunTrouble(path string) string {
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return fmt.Sprintf("cannot be found: %v", err)
	case info.Mode()&fs.ModeCharDevice == 0:
		return "not a device"
	}
	return ""
}

func latest(files []string) time.Time {
	var newest time.Time
	if self, err := os.Executable(); err == nil {
		files = append(slices.Clone(files), self)
	}
	for _, path := range files {
		if info, err := os.Stat(path); err == nil && info.ModTime().After(newest) {
			newest = info.ModTime()
		}
	}
	return newest
}

// lookups asks for all names, many at a time: a large profile has more of them than would fit in
// the time one by one.
func lookups(ctx context.Context, names []string,
	resolve func(context.Context, string) error) []Lookup {
	ctx, cancel := context.WithTimeout(ctx, lookupTimeout)
	defer cancel()
	out := make([]Lookup, len(names))
	turns := make(chan struct{}, lookupsAtOnce)
	var wg sync.WaitGroup
	for i, name := range names {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			out[i].Name = name
			if err := resolve(ctx, name); err != nil {
				out[i].Err = err.Error()
			}
		})
	}
	wg.Wait()
	return out
}

func resolve(ctx context.Context, name string) error {
	_, err := net.DefaultResolver.LookupHost(ctx, name)
	return err
}
