//go:build !manual

package main

import "github.com/spf13/cobra"

func (p *program) manualCommands() []*cobra.Command { return nil }
