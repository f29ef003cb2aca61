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

// twoArguments accepts a command line with two arguments, as Use names them: "add NAME FILE".
func twoArguments(cmd *cobra.Command, args []string) error {
	if len(args) == 2 {
		return nil
	}
	verb := strings.TrimPrefix(cmd.CommandPath(), "ztbridge ")
	what := strings.TrimPrefix(cmd.Use, cmd.Name()+" ")
	return &api.HintedError{Err: fmt.Errorf("%s needs %s", verb, what),
		Hint: "ztbridge " + verb + " " + what}
}
