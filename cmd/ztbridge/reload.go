package main

import (
	"github.com/spf13/cobra"
)

func (p *program) reloadCommand() *cobra.Command {
	keep := false
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have the daemon read its configuration again",
		Long: `Have the daemon read its configuration again, as systemctl reload ztbridge does. A
configuration with an error is refused, with the error: the one that was read
before stays in force, and status says so until a reload succeeds. With --keep
nothing is read, and a refused reload is forgotten.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if keep {
				if err := p.daemon().ForgetReload(cmd.Context()); err != nil {
					return err
				}
				p.say("the running configuration stays")
				return nil
			}
			if err := p.daemon().Reload(cmd.Context()); err != nil {
				return err
			}
			p.say("the configuration is in force")
			return nil
		},
	}
	cmd.Flags().BoolVar(&keep, "keep", false, "keep the running configuration")
	return cmd
}
