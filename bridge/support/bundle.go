package support

import (
	"archive/zip"
	"context"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
)

// Part is one file of a bundle.
type Part struct {
	Name string // of the file
	What string // it is, in a few words
	Text string // before it is redacted
}

const (
	commandTimeout = 15 * time.Second
	// maxOutput bounds what is kept of a command's output, in bytes: its end.
	maxOutput = 2 << 20
)

// commands are what is asked of the system. Those that a machine does not have are left out.
var commands = []struct{ name, what, line string }{
	{"versions.txt", "versions of the kernel, the system and the programs",
		"uname -a; cat /etc/os-release; openvpn --version | head -n 3; zerotier-one -v; " +
			"nft --version; ip -V"},
	{"log.txt", "the log of ztbridge and zerotier-one", "journalctl --no-pager -q -o short-iso " +
		"-n 5000 -u ztbridge -u ztbridge-guard -u zerotier-one -u 'ztbridge-*'"},
	{"units.txt", "the state of the services", "systemctl --no-pager -l status ztbridge " +
		"ztbridge-guard zerotier-one"},
	{"rules.txt", "routing rules", "ip -d rule; ip -6 -d rule"},
	{"routes.txt", "routes of all tables", "ip route show table all; ip -6 route show table all"},
	{"interfaces.txt", "interfaces and what they carried", "ip -d -s link; ip addr"},
	{"nft.txt", "ztbridge's filter", "nft list table inet ztb"},
	{"iptables.txt", "filters of iptables", "iptables -S; ip6tables -S; iptables -t nat -S"},
	{"machine.txt", "memory, disks, time",
		"free; df -h; grep -v nsfs /proc/mounts; uptime; date -u; cat /proc/loadavg"},
}

// Observe asks the system. It changes nothing.
func Observe(ctx context.Context) []Part {
	var parts []Part
	for _, c := range commands {
		parts = append(parts, Part{c.name, c.what, output(ctx, c.line)})
	}
	return parts
}

func output(ctx context.Context, line string) string {
	ctx, cancel := context.WithTimeout(ctx, commandTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "sh", "-c", line)
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	text := string(out[max(0, len(out)-maxOutput):])
	if err != nil {
		text += fmt.Sprintf("\n(%v)\n", err)
	}
	return "$ " + line + "\n" + text
}

const preface = `This bundle says what a ztbridge box is, does and logs. Passwords, keys and tokens were removed. Public
addresses, hardware addresses, ZeroTier's ids and names were replaced, the same thing by the same
word everywhere: address-1, host-2, client-1. Addresses of private networks are as they were.

Look through it before you hand it on. It holds:

`

// Write writes a ZIP archive of the parts to w, redacted, and a list of them.
func Write(w io.Writer, r *Redactor, parts []Part, now time.Time) error {
	var list strings.Builder
	list.WriteString(preface)
	z := zip.NewWriter(w)
	add := func(name, text string) error {
		to, err := z.CreateHeader(&zip.FileHeader{Name: "ztbridge-support/" + name,
			Method: zip.Deflate, Modified: now})
		if err != nil {
			return err
		}
		_, err = io.WriteString(to, text)
		return err
	}
	for _, p := range parts {
		text := r.Redact(p.Text)
		fmt.Fprintf(&list, "%-16s %8d bytes  %s\n", p.Name, len(text), p.What)
		if err := add(p.Name, text); err != nil {
			return fmt.Errorf("writing %s of the bundle: %w", p.Name, err)
		}
	}
	if err := add("README.txt", list.String()); err != nil {
		return fmt.Errorf("writing the bundle: %w", err)
	}
	if err := z.Close(); err != nil {
		return fmt.Errorf("finishing the bundle: %w", err)
	}
	return nil
}
