package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ztbridge/bridge/api"
)

func (p *program) notifyCommand() *cobra.Command {
	return group("notify", "Test the messages that this box sends you", p.notifyTest())
}

func (p *program) notifyTest() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "test [webhook|ntfy|telegram|email]",
		Short: "Send a test message and say what came of it",
		Long: `Send a test message in each way that the configuration names under notify, or in
one of them, and say what came of it. It leaves by the path that is configured, as
real messages do. The exit code is 3 if one was not delivered.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			deliveries, err := p.daemon().NotifyTest(cmd.Context(), strings.Join(args, ""))
			if err != nil {
				return err
			}
			if err := p.show(deliveries, renderDeliveries(deliveries), asJSON); err != nil {
				return err
			}
			for _, d := range deliveries {
				if d.Error != "" {
					return errState
				}
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "answer in JSON")
	return cmd
}

// renderDeliveries says what came of messages, for people.
func renderDeliveries(deliveries []api.Delivery) string {
	var b strings.Builder
	for _, d := range deliveries {
		if d.Error == "" {
			fmt.Fprintf(&b, "%-9s delivered in %.1f s; look whether it has arrived\n", d.Name,
				d.Seconds)
			continue
		}
		fmt.Fprintf(&b, "%-9s not delivered: %s\n", d.Name, d.Error)
		if d.Hint != "" {
			fmt.Fprintf(&b, "          What to do: %s\n", d.Hint)
		}
	}
	return b.String()
}
