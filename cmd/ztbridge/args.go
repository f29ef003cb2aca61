package main

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"ztbridge/bridge/api"
)

// oneArgument accepts a command line with one argument, which the command's Use line names after
// its verb: "add NAME".
func oneArgument(cmd *cobra.Command, args []string) error {
	if len(args) == 1 {
		return nil
	}
	verb := strings.TrimPrefix(cmd.CommandPath(), "ztbridge ")
	what := strings.TrimPrefix(cmd.Use, cmd.Name()+" ")
	problem := fmt.Errorf("%s takes one %s, not %s", verb, what, strings.Join(args, " "))
	if len(args) == 0 {
		problem = fmt.Errorf("%s needs a %s", verb, what)
	}
	return &api.HintedError{Err: problem, Hint: "ztbridge " + verb + " " + what}
}
