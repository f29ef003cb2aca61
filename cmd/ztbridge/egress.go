package main

import (
	"context"
	"net/netip"
	"strings"

	"github.com/spf13/cobra"

	"ztbridge/bridge/api"
	"ztbridge/bridge/network"
	"ztbridge/bridge/zerotier/controller"
)

func (p *program) egressCommand() *cobra.Command {
	servers := false
	list := &cobra.Command{
		Use: "list", Short: "List the exits and their states", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if servers {
				return p.listServers(cmd)
			}
			return p.listEgresses(cmd)
		},
	}
	list.Flags().BoolVar(&servers, "servers", false,
		"list the servers of egresses that have a folder or ZIP archive of profiles")
	return group("egress", "List the exits, add one, or select one manually",
		list, p.egressAdd(), p.egressReplace(), p.egressUse(), p.egressReset())
}

func (p *program) egressUse() *cobra.Command {
	device := ""
	cmd := &cobra.Command{
		Use:   "use NAME[/SERVER]",
		Short: "Make an exit the first choice of every rule, or of one device",
		Long: `Make an exit the first choice of every rule that lists it. Rules that do not list it
stay as they are. The choice survives a restart; while the chosen exit is down, the
others of the list are used as usual. NAME/SERVER also connects to that server first,
now and after a restart (see ztbridge egress list --servers); when it fails, the next
one is tried.

With --for, choose for one device: for its IP address, its 10-digit ZeroTier address,
its name (ztbridge network members), or the name of a client of the endpoint. Its rule
must offer the exit by ` + "`choose:`" + `. While the exit is down, the device is blocked, unless
the rule has ` + "`egress:`" + ` as well.`,
		Args: oneArgument,
		RunE: func(cmd *cobra.Command, args []string) error {
			if device != "" {
				return p.useFor(cmd.Context(), device, args[0])
			}
			if err := p.daemon().Use(cmd.Context(), args[0]); err != nil {
				return err
			}
			name, server, chosen := strings.Cut(args[0], "/")
			if chosen {
				p.say("%s connects to %s first", name, server)
			}
			p.say("%s is now the first choice of every rule that lists it", name)
			return nil
		},
	}
	cmd.Flags().StringVar(&device, "for", "", "choose for this `device` alone")
	return cmd
}

func (p *program) egressReset() *cobra.Command {
	device := ""
	cmd := &cobra.Command{
		Use: "reset", Short: "Follow the configuration again, after use", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if device != "" {
				return p.useFor(cmd.Context(), device, "")
			}
			if err := p.daemon().Reset(cmd.Context()); err != nil {
				return err
			}
			p.say("the order of the configuration is in force")
			return nil
		},
	}
	cmd.Flags().StringVar(&device, "for", "", "forget what this `device` chose")
	return cmd
}

// useFor chooses an exit for one device, or forgets its choice. A name that the daemon does not
// know may be a member's at the network's controller.
func (p *program) useFor(ctx context.Context, device, egress string) error {
	r := api.DeviceRequest{Device: device, Egress: egress}
	if member, ok := p.memberNamed(ctx, device); ok {
		r = api.DeviceRequest{Device: member.Address.String(), Name: member.Name, Egress: egress,
			Addresses: member.Addrs}
	}
	now, err := p.daemon().UseFor(ctx, r)
	if err != nil {
		return err
	}
	switch {
	case egress == "":
		p.say("%s follows its rule again", now.Name)
	case now.Egress == egress:
		p.say("%s leaves by %s now", now.Name, egress)
	case now.Egress != "":
		p.say("%s chose %s, which is not up: it leaves by %s", now.Name, egress, now.Egress)
	default:
		p.say("%s chose %s, and is blocked until that is up", now.Name, egress)
	}
	return nil
}

// memberNamed returns the member that a name or ZeroTier address means at the network's controller,
// if that can be asked.
func (p *program) memberNamed(ctx context.Context, device string) (controller.Member, bool) {
	if _, err := netip.ParseAddr(device); err == nil {
		return controller.Member{}, false
	}
	s, err := network.Open(ctx, p.networkOf(&networkOptions{}))
	if err != nil || !s.HasController() {
		return controller.Member{}, false
	}
	members, err := s.Members(ctx)
	if err != nil {
		return controller.Member{}, false
	}
	m, err := network.Pick(members, device)
	return m, err == nil && m.Authorized
}

func (p *program) listEgresses(cmd *cobra.Command) error {
	s, err := p.daemon().Status(cmd.Context())
	if err != nil {
		return err
	}
	rows := [][]string{{"NAME", "KIND", "STATE", "USABLE", "CHOSEN"}}
	for _, e := range s.Egresses {
		rows = append(rows, []string{e.Name, e.Kind, e.State, yesNo(e.Usable), yesNo(e.Chosen)})
	}
	return p.table(rows)
}

// listServers prints the names that `egress use` takes, with the one in use marked.
func (p *program) listServers(cmd *cobra.Command) error {
	s, err := p.daemon().Status(cmd.Context())
	if err != nil {
		return err
	}
	rows := [][]string{{"SERVER", "IN USE"}}
	for _, e := range s.Egresses {
		for _, server := range e.Servers {
			rows = append(rows, []string{e.Name + "/" + server, yesNo(server == e.Server)})
		}
	}
	return p.table(rows)
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}
