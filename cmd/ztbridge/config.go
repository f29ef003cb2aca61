package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"ztbridge/bridge/config"
	"ztbridge/bridge/services"
)

func (p *program) configCommand() *cobra.Command {
	return group("config", "Check the configuration, or show what is in force",
		&cobra.Command{
			Use:   "check",
			Short: "Check for mistakes, and list what was ignored in each profile",
			Args:  cobra.NoArgs,
			RunE:  func(*cobra.Command, []string) error { return p.checkConfig() },
		},
		&cobra.Command{
			Use:   "show",
			Short: "Print the effective configuration, defaults included, secrets left out",
			Args:  cobra.NoArgs,
			RunE:  func(*cobra.Command, []string) error { return p.showConfig() },
		},
		p.tryCommand(),
	)
}

func (p *program) checkConfig() error {
	report, err := services.Check(p.configPath, p.overrides)
	if _, writing := fmt.Fprint(p.out, report); err == nil {
		err = writing
	}
	if err == nil {
		p.say("%s is good", p.configPath)
	}
	return err
}

func (p *program) showConfig() error {
	cfg, warnings, err := config.Load(p.configPath, p.overrides)
	for _, w := range warnings {
		p.say("warning: %s", w)
	}
	if err != nil {
		return err
	}
	text, err := cfg.Show()
	if err != nil {
		return err
	}
	_, err = p.out.Write(text)
	return err
}
