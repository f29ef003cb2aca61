//go:build manual

package main

import (
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"github.com/spf13/cobra/doc"
)

// manualCommands are in no package, but only in the program that is compiled to write the manual. A
// box needs no renderer.
func (p *program) manualCommands() []*cobra.Command {
	return []*cobra.Command{{
		Use:    "manual FOLDER DATE",
		Short:  "Write a page of section 1 for each command",
		Args:   cobra.ExactArgs(2),
		Hidden: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			when, err := time.Parse(time.DateOnly, args[1])
			if err != nil {
				return fmt.Errorf("reading the date: %w", err)
			}
			cmd.Root().DisableAutoGenTag = true
			return doc.GenManTree(cmd.Root(), &doc.GenManHeader{Section: "1", Date: &when,
				Source: "ztbridge", Manual: "ztbridge"}, args[0])
		},
	}}
}
