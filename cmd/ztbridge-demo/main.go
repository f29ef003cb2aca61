package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"ztbridge/policyroute/netlab"
)

// errFailed reports that the demo ran to its end and showed what it should not.
var errFailed = errors.New("the gateway did not hold what it promises")

func main() { os.Exit(run()) }

func run() int {
	program := flag.String("ztbridge", "bin/ztbridge", "the `program` to show")
	flag.Parse()
	if flag.NArg() > 0 {
		flag.Usage()
		return 2
	}
	path, err := filepath.Abs(*program)
	if err == nil {
		_, err = os.Stat(path)
	}
	if err != nil {
		return fail(err, "build it first: make build")
	}
	if missing := netlab.Missing(netlab.Root, netlab.OpenVPN); len(missing) > 0 {
		return fail(fmt.Errorf("missing: %s", strings.Join(missing, ", ")),
			"run it as root: sudo make demo")
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	d := &demo{program: path, screen: newScreen(os.Stdout)}
	err = d.run(ctx)
	switch {
	case d.notTaken != nil:
		return fail(fmt.Errorf("taking the lab down: %w", d.notTaken),
			"the next run sweeps what is left")
	case ctx.Err() != nil:
		fmt.Fprintln(os.Stderr, "\nztbridge-demo: interrupted; everything was taken away again")
		return 2
	case errors.Is(err, errFailed):
		fmt.Fprintln(os.Stderr, "ztbridge-demo: error:", err)
		return 1
	case err != nil:
		return fail(err, "")
	}
	return 0
}

func fail(err error, hint string) int {
	fmt.Fprintln(os.Stderr, "ztbridge-demo: error:", err)
	if hint != "" {
		fmt.Fprintln(os.Stderr, "ztbridge-demo: hint:", hint)
	}
	return 2
}
