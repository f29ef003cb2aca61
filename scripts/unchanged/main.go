package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// orphansEnd bounds the wait for processes that are ending when the command has ended.
const orphansEnd = 5 * time.Second

func main() {
	asJSON := flag.Bool("json", false, "tell the result as `go test -json` does")
	flag.Parse()
	if flag.NArg() == 0 {
		fmt.Fprintln(os.Stderr, "usage: unchanged [-json] COMMAND [ARGUMENT…]")
		os.Exit(2)
	}
	status, differences, err := run(theMachine(), flag.Args())
	if err != nil {
		fmt.Fprintln(os.Stderr, "unchanged: error:", err)
		os.Exit(1)
	}
	if *asJSON {
		err = tellJSON(os.Stdout, differences)
	} else if differences != "" {
		fmt.Fprint(os.Stderr, "unchanged: error: the machine is not as it was (- gone, + new):\n",
			differences)
	}
	if err != nil || differences != "" && status == 0 {
		status = 1
	}
	os.Exit(status)
}

// run runs the command between two looks at the machine. It returns the exit status of the command
// and, in words, how the machine differs.
func run(m machine, command []string) (status int, differences string, err error) {
	ctx := context.Background()
	before, err := m.look(ctx)
	if err != nil {
		return 0, "", err
	}
	status, err = execute(command)
	if err != nil {
		return 0, "", err
	}
	left := orphans(time.Now().Add(orphansEnd))
	if err := m.removeNetnsDir(before); err != nil {
		return 0, "", err
	}
	after, err := m.look(ctx)
	if err != nil {
		return 0, "", err
	}
	return status, before.compare(after) + left, nil
}

// execute runs a command to its end, and adopts every process that loses its parent meanwhile. See
// PR_SET_CHILD_SUBREAPER in prctl(2): so no process that outlives the command is overlooked.
func execute(command []string) (status int, err error) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		return 0, fmt.Errorf("becoming the parent of orphans: %w", err)
	}
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	// The terminal interrupts the command as well, which has time to tidy up.
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	if err := cmd.Start(); err != nil {
		return 0, err
	}
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case s := <-signals:
				if s == syscall.SIGTERM {
					_ = cmd.Process.Signal(s) // it may have ended
				}
			case <-done:
				return
			}
		}
	}()
	for {
		var ws unix.WaitStatus
		pid, err := unix.Wait4(-1, &ws, 0, nil)
		switch {
		case errors.Is(err, unix.EINTR):
		case err != nil:
			return 0, fmt.Errorf("waiting for %s: %w", command[0], err)
		case pid == cmd.Process.Pid && ws.Signaled():
			return 128 + int(ws.Signal()), nil
		case pid == cmd.Process.Pid:
			return ws.ExitStatus(), nil
		}
	}
}

// orphans returns, in words, the processes that the command left, once they had until deadline to
// end. It kills none.
func orphans(deadline time.Time) string {
	for {
		for {
			if pid, err := unix.Wait4(-1, nil, unix.WNOHANG, nil); err != nil || pid <= 0 {
				break
			}
		}
		var b strings.Builder
		for _, p := range processes() {
			if p.parent == os.Getpid() {
				fmt.Fprintf(&b, "# processes\n+ %d %s\n", p.pid, p.name)
			}
		}
		if b.Len() == 0 || time.Now().After(deadline) {
			return b.String()
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// tellJSON writes the result as the events of one test.
func tellJSON(w io.Writer, differences string) error {
	type event struct{ Action, Package, Test, Output string }
	const pkg, test = "ztbridge/scripts/unchanged", "TheMachineIsAsItWas"
	action := "pass"
	if differences != "" {
		action = "fail"
	}
	out := json.NewEncoder(w)
	return errors.Join(
		out.Encode(event{"run", pkg, test, ""}),
		out.Encode(event{"output", pkg, test, differences}),
		out.Encode(event{action, pkg, test, ""}),
		out.Encode(event{action, pkg, "", ""}))
}
