package bridge

import (
	"log/slog"

	"ztbridge/bridge/config"
	"ztbridge/bridge/services"
	"ztbridge/bridge/web"
)

// Options say where things are. All paths are absolute or relative to the working directory.
type Options struct {
	ConfigPath string
	StateDir   string // survives a reboot: keys, DNS answers, a person's choice
	RuntimeDir string // does not: sockets, original sysctls
	Overrides  config.Overrides
	Logger     *slog.Logger
	Version    string
	// Reload asks Run to read the configuration again. It may be nil.
	Reload <-chan struct{}
	Tools  web.Tools // of the page; Run completes them
}

func (o Options) env() services.Env {
	return services.Env{StateDir: o.StateDir, RuntimeDir: o.RuntimeDir, Logger: o.Logger}
}
