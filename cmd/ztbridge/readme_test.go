package main

import (
	"io"
	"os"
	"regexp"
	"slices"
	"testing"
)

// The README's table names every command, and none that there is not.
func TestReadmeNamesCommands(t *testing.T) {
	readme, err := os.ReadFile("../../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	cells := regexp.MustCompile("(?m)^\\| `ztbridge .*? \\|").FindAll(readme, -1)
	for _, cell := range cells {
		for _, of := range regexp.MustCompile("`ztbridge ([a-z-]+)").FindAllSubmatch(cell, -1) {
			named = append(named, string(of[1]))
		}
	}
	p := &program{out: io.Discard, err: io.Discard, env: func(string) string { return "" }}
	var commands []string
	for _, cmd := range p.root().Commands() {
		if cmd.IsAvailableCommand() && cmd.Name() != "help" && cmd.Name() != "completion" {
			commands = append(commands, cmd.Name())
		}
	}
	for _, name := range commands {
		if !slices.Contains(named, name) {
			t.Errorf("the README's table does not name `ztbridge %s`", name)
		}
	}
	for _, name := range named {
		if !slices.Contains(commands, name) {
			t.Errorf("the README's table names `ztbridge %s`, which is no command", name)
		}
	}
}
