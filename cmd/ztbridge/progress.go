package main

import (
	"encoding/json"

	"github.com/spf13/cobra"

	"ztbridge/bridge/api"
)

// progress tells what a command does: people on the standard error, programs in JSON on the
// standard output.
type progress struct {
	*program
	json bool
}

func (p *progress) flag(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&p.json, "json", false,
		"print each step on standard output as a line of JSON")
}

// tell passes a line on.
func (p *progress) tell(line api.Progress) {
	switch {
	case p.json:
		// A reader that went away misses nothing.
		_ = json.NewEncoder(p.out).Encode(line)
	case line.Warning:
		p.say("warning: %s", line.Text)
	case line.Text != "":
		p.say("%s", line.Text)
	}
}

// end tells how it ended, and returns err.
func (p *progress) end(err error) error {
	if p.json {
		line := api.Progress{Done: true, Hint: api.Hint(err)}
		if err != nil {
			line.Error = err.Error()
		}
		p.tell(line)
	}
	return err
}
