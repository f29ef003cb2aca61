package main

import (
	"fmt"
	"text/tabwriter"

	"github.com/spf13/cobra"
)

func (p *program) egressCommand() *cobra.Command {
	egress := &cobra.Command{
		Use:   "egress",
		Short: "List the ways out, or choose one by hand",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	servers := false
	list := &cobra.Command{
		Use: "list", Short: "List the ways out and how they are", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if servers {
				return p.listServers(cmd)
			}
			return p.listEgresses(cmd)
		},
	}
	list.Flags().BoolVar(&servers, "servers", false,
		"list the servers of egresses that have a folder or ZIP archive of profiles")
	egress.AddCommand(
		list,
		&cobra.Command{
			Use:   "use NAME[/SERVER]",
			Short: "Make a way out the first choice of every rule that lists it",
			Long: `Make a way out the first choice of every rule of the policy that lists it. Rules
that do not list it stay as they are. The choice survives a restart; while the
chosen one is down, the others of the list are used as usual. NAME/SERVER also
connects to that server (see ztbridge egress list --servers).`,
			Args: oneArgument,
			RunE: func(cmd *cobra.Command, args []string) error {
				if err := p.daemon().Use(cmd.Context(), args[0]); err != nil {
					return err
				}
				p.say("%s is now the first choice of every rule that lists it", args[0])
				return nil
			},
		},
		&cobra.Command{
			Use: "reset", Short: "Forget the choice made by `use`", Args: cobra.NoArgs,
			RunE: func(cmd *cobra.Command, _ []string) error {
				if err := p.daemon().Reset(cmd.Context()); err != nil {
					return err
				}
				p.say("the order of the configuration is in force")
				return nil
			},
		},
	)
	return egress
}

func (p *program) listEgresses(cmd *cobra.Command) error {
	s, err := p.daemon().Status(cmd.Context())
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "NAME\tKIND\tSTATE\tUSABLE\tCHOSEN")
	for _, e := range s.Egresses {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", e.Name, e.Kind, e.State, yesNo(e.Usable),
			yesNo(e.Chosen))
	}
	return table.Flush()
}

// listServers prints the names that `egress use` takes, with the one in use marked.
func (p *program) listServers(cmd *cobra.Command) error {
	s, err := p.daemon().Status(cmd.Context())
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "SERVER\tIN USE")
	for _, e := range s.Egresses {
		for _, server := range e.Servers {
			fmt.Fprintf(table, "%s/%s\t%s\n", e.Name, server, yesNo(server == e.Server))
		}
	}
	return table.Flush()
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
