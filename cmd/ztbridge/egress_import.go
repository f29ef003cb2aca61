package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"ztbridge/bridge/api"
	"ztbridge/bridge/importer"
)

// importFlags are those of commands that put a provider's profile in force.
type importFlags struct {
	profileFlags
	rules []int
	noTry bool
}

func (p *program) egressAdd() *cobra.Command {
	return p.importCommand(false, &cobra.Command{
		Use:   "add NAME FILE",
		Short: "Add a provider's profile as a new exit",
		Long: `Add a provider's profile (.ovpn), or a ZIP archive of profiles, as a new way out: check
it, try it as ` + "`ztbridge config try`" + ` does, copy it beside the configuration, write the egress
into the configuration, and wait until its tunnel is up. Comments in the configuration
stay. If a step fails, all is as it was before.

Without a policy it comes behind the tunnels there are. With one, --rule names the
rules that get it at the end of their lists.`,
	})
}

func (p *program) egressReplace() *cobra.Command {
	return p.importCommand(true, &cobra.Command{
		Use:   "replace NAME FILE",
		Short: "Give an exit another profile",
		Long: `Give an openvpn egress another profile (.ovpn), or a ZIP archive of profiles: check it,
try it as ` + "`ztbridge config try`" + ` does while the old one carries the traffic, copy it beside
the configuration, name it there, and wait until its tunnel is up. Comments and other
keys of the egress stay. If a step fails, all is as it was before, and the old tunnel
comes back.

Without --credentials those of before stay in use, if the new profile needs any.`,
	})
}

func (p *program) importCommand(replace bool, cmd *cobra.Command) *cobra.Command {
	var flags importFlags
	progress := &progress{program: p}
	cmd.Args = twoArguments
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		login, err := flags.login()
		if err != nil {
			return progress.end(err)
		}
		i := &importer.Import{ConfigPath: p.configPath, Overrides: p.overrides, Daemon: p.daemon(),
			Name: args[0], Replace: replace, File: args[1], Pick: flags.pick, Credentials: login,
			LegacyCrypto: flags.legacy, Rules: flags.rules,
			Progress: func(text string) { progress.tell(api.Progress{Text: text}) }}
		if !flags.noTry {
			if err := progress.try(cmd.Context(), args[1], flags.profileFlags,
				i.Login()); err != nil {
				return progress.end(fmt.Errorf("trying the profile: %w", err))
			}
		}
		egress, err := i.Run(cmd.Context())
		if err == nil {
			progress.tell(api.Progress{Text: importText(args[0], p.configPath, egress)})
		}
		return progress.end(err)
	}
	flags.add(cmd)
	if !replace {
		cmd.Flags().IntSliceVar(&flags.rules, "rule", nil,
			"`number` of a rule of the policy, from 1, that gets it at the end of its list")
	}
	cmd.Flags().BoolVar(&flags.noTry, "no-try", false, "do not connect before it is put in force")
	progress.flag(cmd)
	return cmd
}

// importText says what came of an import.
func importText(name, config string, e *api.Egress) string {
	if e == nil {
		return fmt.Sprintf("%s has it; no daemon runs that could use it: systemctl start ztbridge",
			config)
	}
	return fmt.Sprintf("%s is up, by %s", name, e.Remote)
}
