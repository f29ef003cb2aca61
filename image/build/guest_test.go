package build

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"time"
)

// Firmware is what starts the boot loader.
type Firmware string

// Firmwares.
const (
	BIOS    Firmware = "bios"
	UEFI    Firmware = "uefi"
	ARMUEFI Firmware = "arm-uefi" // -M virt
	// -M raspi3b, which boots U-Boot itself: it has no GPU to run the Pi's own firmware
	Pi3 Firmware = "pi3"
)

// Machine is a guest to start.
type Machine struct {
	Firmware Firmware
	Disk     string // raw image, written to
	Memory   int    // MiB
	CPUs     int    // 1 when zero; the Pi has its own four
	UBoot    string // for Pi3: u-boot.bin, and
	DTB      string // the board's device tree, which the Pi's firmware would hand to it
	Extra    []string
	// open in the machine's process from number 3 on, for Extra to name; they stay the caller's
	Files []*os.File
}

const (
	ovmfCode = "/usr/share/OVMF/OVMF_CODE.fd"
	armCode  = "/usr/share/AAVMF/AAVMF_CODE.fd"
)

// args never ask for KVM. A /dev/kvm need not be able to run a stock kernel, and a test that hangs
// there says nothing about the image.
func (m Machine) args() []string {
	common := []string{"-display", "none", "-monitor", "none", "-no-reboot", "-m",
		fmt.Sprint(m.Memory)}
	disk := []string{"-drive", "file=" + m.Disk + ",format=raw,if=none,id=disk,cache=unsafe",
		"-device", "virtio-scsi-pci", "-device", "scsi-hd,drive=disk"}
	// One: before version 8.1, which Debian 12 does not have, QEMU may run what another processor
	// is just patching, and a kernel that does so to itself dies of it now and then.
	cpus := cmp.Or(m.CPUs, 1)
	tcg := []string{"-accel", "tcg,thread=multi", "-smp", fmt.Sprint(cpus)}
	// QEMU 7.2 computes VAES wrongly, and ZeroTier, which uses it for all but short packets, cannot
	// read its configuration.
	const pc = "max,-vaes"
	switch m.Firmware {
	case Pi3:
		return append(append(common, "-M", "raspi3b", "-serial", "null", "-serial", "stdio",
			"-kernel", m.UBoot, "-dtb", m.DTB,
			"-drive", "file="+m.Disk+",format=raw,if=sd,cache=unsafe"), m.Extra...)
	case ARMUEFI:
		common = append(common, "-M", "virt", "-cpu", "cortex-a72", "-bios", armCode)
	case UEFI:
		common = append(common, "-M", "q35", "-cpu", pc, "-drive",
			"if=pflash,format=raw,readonly=on,file="+ovmfCode)
	default:
		common = append(common, "-M", "q35", "-cpu", pc)
	}
	return append(append(append(append(common, tcg...), disk...), "-serial", "stdio"), m.Extra...)
}

func (m Machine) program() string {
	if m.Firmware == Pi3 || m.Firmware == ARMUEFI {
		return "qemu-system-aarch64"
	}
	return "qemu-system-x86_64"
}

// Guest is a running machine.
type Guest struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when QEMU has ended and all output is in

	mu      sync.Mutex
	output  strings.Builder
	changed chan struct{} // closed and replaced at each output
	read    int           // what Expect has consumed
}

// startMachine runs the machine until Kill or the end of the context, whichever is first.
// Everything it writes is also copied to log.
func startMachine(ctx context.Context, m Machine, log io.Writer) (*Guest, error) {
	cmd := exec.CommandContext(ctx, m.program(), m.args()...)
	cmd.ExtraFiles = m.Files
	// The guest must not outlive a test that is killed.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("starting QEMU: %w", err)
	}
	cmd.Stderr = log
	g := &Guest{cmd: cmd, done: make(chan struct{}), changed: make(chan struct{})}
	started := make(chan error)
	go g.collect(io.TeeReader(out, log), started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("starting QEMU: %w", err)
	}
	return g, nil
}

// collect starts QEMU and ends with its output, that is, with QEMU. The kernel takes the end of the
// thread that started a process for the end of its parent: the thread is kept.
func (g *Guest) collect(r io.Reader, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(g.done)
	err := g.cmd.Start()
	started <- err
	if err != nil {
		return
	}
	buf := make([]byte, 4096)
	for {
		n, err := r.Read(buf)
		g.mu.Lock()
		g.output.Write(buf[:n])
		close(g.changed)
		g.changed = make(chan struct{})
		g.mu.Unlock()
		if err != nil {
			_ = g.cmd.Wait() // killed by us, or its own end: the console tells the story
			return
		}
	}
}

// ErrEnded reports a guest that powered off, restarted or died before it wrote what was expected.
var ErrEnded = errors.New("the machine ended")

// Expect waits until the console shows the pattern after what was expected before, and returns the
// match with its groups. Use (?m) for lines; the console's line ends are \r\n.
func (g *Guest) Expect(pattern string, timeout time.Duration) ([]string, error) {
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, fmt.Errorf("expecting %q: %w", pattern, err)
	}
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	ended := false
	for {
		match, changed := g.match(re)
		if match != nil {
			return match, nil
		}
		if ended {
			return nil, fmt.Errorf("expecting %q: %w; its console ended with:\n%s", pattern,
				ErrEnded, g.Tail(30))
		}
		select {
		case <-changed:
		case <-g.done:
			ended = true
		case <-deadline.C:
			return nil, fmt.Errorf("expecting %q: not within %s; the console ends with:\n%s",
				pattern, timeout, g.Tail(30))
		}
	}
}

func (g *Guest) match(re *regexp.Regexp) ([]string, <-chan struct{}) {
	g.mu.Lock()
	defer g.mu.Unlock()
	text := g.output.String()[g.read:]
	loc := re.FindStringSubmatchIndex(text)
	if loc == nil {
		return nil, g.changed
	}
	match := re.FindStringSubmatch(text)
	g.read += loc[1]
	return match, nil
}

// Tail is the end of the console.
func (g *Guest) Tail(lines int) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	all := strings.Split(strings.ReplaceAll(g.output.String(), "\r", ""), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// Kill cuts the power and waits until QEMU has ended. It is idempotent.
func (g *Guest) Kill() {
	if err := g.cmd.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return
	}
	<-g.done
}

// Ended reports whether the machine has ended.
func (g *Guest) Ended() bool {
	select {
	case <-g.done:
		return true
	default:
		return false
	}
}

// Wait returns when the machine has ended by itself; with -no-reboot, a restart is an end.
func (g *Guest) Wait(timeout time.Duration) error {
	select {
	case <-g.done:
		return nil
	case <-time.After(timeout):
		return fmt.Errorf(
			"waiting for the machine to end: not within %s; the console ends with:\n%s", timeout,
			g.Tail(30))
	}
}
