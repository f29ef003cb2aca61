// Command ztbridge is the gateway: daemon, guard and everything that a person asks of them.
//
// Output follows three rules. stdout is the answer and nothing else, so that it can be piped;
// stderr is information for the person; every failure is a line "ztbridge: error: …", and where
// something can be done about it a line "ztbridge: hint: …" after it.
package main

import (
	"context"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"ztbridge/bridge/zerotier/controller"
)

func main() { os.Exit(run()) }

func run() int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, unix.SIGTERM)
	defer stop()
	p := &program{out: os.Stdout, err: os.Stderr, env: os.Getenv,
		centralV1: controller.BaseV1, centralV2: controller.BaseV2}
	return p.execute(ctx, os.Args[1:])
}
