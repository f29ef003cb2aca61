package main

import (
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"ztbridge/bridge/api"
)

func (p *program) historyCommand() *cobra.Command {
	var of, last string
	var asJSON bool
	var limit int
	cmd := &cobra.Command{
		Use:   "history",
		Short: "Show what changed, when and why, and what passed through",
		Long: `Show what changed in the last day, newest first, with its cause; --last chooses another
span. With --of NAME, show instead what an egress or ingress carried in that span, how
long it took and what was lost.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			span := api.Span(last)
			if !slices.Contains(api.Spans, span) {
				return usage(fmt.Sprintf("--last %s: there is no such span", last),
					"write hour, day, month or year")
			}
			if of != "" {
				return p.showSeries(cmd, of, span, asJSON)
			}
			changes, err := p.daemon().PastChanges(cmd.Context(), span, limit)
			if err != nil {
				return err
			}
			return p.show(changes, api.RenderChanges(changes), asJSON)
		},
	}
	cmd.Flags().StringVar(&of, "of", "", "show what the egress or ingress of this `name` carried")
	cmd.Flags().StringVar(&last, "last", string(api.LastDay), "`span`: hour, day, month, year")
	cmd.Flags().IntVar(&limit, "limit", 100, "show at most this `number` of changes")
	cmd.Flags().BoolVar(&asJSON, "json", false, "answer in JSON")
	return cmd
}

// showSeries asks for an egress of that name, then for an ingress.
func (p *program) showSeries(cmd *cobra.Command, name string, span api.Span, asJSON bool) error {
	var points []api.Point
	var err error
	for _, kind := range []string{"egress", "ingress"} {
		points, err = p.daemon().Series(cmd.Context(),
			api.HistoryQuery{Kind: kind, Name: name, Span: span})
		if err == nil {
			break
		}
	}
	if err != nil {
		return err
	}
	return p.show(points, api.RenderSeries(points, span), asJSON)
}
