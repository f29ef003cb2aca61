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
