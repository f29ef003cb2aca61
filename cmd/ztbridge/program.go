package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"ztbridge/bridge"
	"ztbridge/bridge/api"
	"ztbridge/bridge/config"
	"ztbridge/image/device/update"
)

// The exit codes, as `ztbridge help` documents them.
const (
	exitOK    = 0
	exitError = 1
	exitState = 3 // the question was answered, and the answer is not good
	// EX_USAGE of sysexits: 2 is how Go ends a program that crashed, which is to be started again
	exitUsage = 64
)

const (
	defaultStateDir   = "/var/lib/ztbridge"
	defaultRuntimeDir = "/run/ztbridge"
)

const about = `Traffic that comes in by ZeroTier, by the OpenVPN endpoint or by an interface leaves
by an exit that the policy lists, the first that works, or is blocked.

Words: an ingress is where devices enter, an egress or exit where their traffic leaves;
a member is a device of the ZeroTier network, a client one of the endpoint, which is the
box's own OpenVPN server; the policy is the rules that choose exits; probes are packets
of the box that test an exit; a provider's profile is its .ovpn file.

Exit codes: 0 done; 1 it failed; 3 the daemon is not running, or it runs and something
is not as configured (status); 64 the command line is wrong.

The variables ZTBRIDGE_CONFIG, ZTBRIDGE_STATE_DIR and ZTBRIDGE_RUNTIME_DIR set the
flags of these names.`

// errState ends the program with exitState without another word: the answer has said it.
var errState = errors.New("not as configured")

// program is one invocation.
type program struct {
	out, err io.Writer
	env      func(string) string
	// reached reports whether the command line was understood: errors from there on are no usage
	// errors.
	reached bool

	configPath, stateDir, runtimeDir string
	// centralV1 and centralV2 are where ZeroTier Central's APIs are.
	centralV1, centralV2 string
	set                  []string
	overrides            config.Overrides // what set says
	verbose              bool
}

// execute carries out a command line and returns the exit code.
func (p *program) execute(ctx context.Context, args []string) int {
	root := p.root()
	root.SetArgs(args)
	err := root.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errState):
		return exitState
	}
	p.complain(err)
	switch {
	case !p.reached:
		return exitUsage
	case errors.Is(err, api.ErrNotRunning):
		return exitState
	default:
		return exitError
	}
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:               "ztbridge",
		Short:             "A gateway from ZeroTier to OpenVPN that does not leak",
		Long:              about,
		SilenceErrors:     true,
		SilenceUsage:      true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
		PersistentPreRunE: p.understand,
		RunE:              func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetOut(p.out)
	root.SetErr(p.err)
	flags := root.PersistentFlags()
	flags.StringVar(&p.configPath, "config", p.or("ZTBRIDGE_CONFIG", config.DefaultPath),
		"configuration `file`")
	flags.StringVar(&p.stateDir, "state-dir", p.or("ZTBRIDGE_STATE_DIR", defaultStateDir),
		"`directory` of what survives a reboot")
	flags.StringVar(&p.runtimeDir, "runtime-dir", p.or("ZTBRIDGE_RUNTIME_DIR", defaultRuntimeDir),
		"`directory` of the socket and of what does not survive a reboot")
	flags.StringArrayVar(&p.set, "set", nil,
		"set a `key=value` of the configuration, over file and variables; may be repeated")
	flags.BoolVarP(&p.verbose, "verbose", "v", false, "log details as well")
	root.AddCommand(p.runCommand(), p.guardCommand(), p.downCommand(), p.planCommand(),
		p.statusCommand(), p.doctorCommand(),
		p.egressCommand(), p.reloadCommand(), p.clientCommand(), p.networkCommand(),
		p.pageCommand(), p.notifyCommand(), p.configCommand(), p.backupCommand(),
		p.restoreCommand(), p.historyCommand(), p.supportCommand(), p.versionCommand(),
		updateCommand(update.New()), problemsTopic())
	root.AddCommand(p.manualCommands()...)
	return root
}

func (p *program) or(variable, fallback string) string { return cmp.Or(p.env(variable), fallback) }

// group returns a command that only has others below it.
func group(use, short string, sub ...*cobra.Command) *cobra.Command {
	cmd := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() }}
	cmd.AddCommand(sub...)
	return cmd
}

// table prints rows of cells, the first of which are the columns' names.
func (p *program) table(rows [][]string) error {
	out := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		fmt.Fprintln(out, strings.Join(row, "\t"))
	}
	return out.Flush()
}

// notEmpty refuses arguments and values of flags that are empty, as an unset variable of a shell
// leaves them: without a device, a choice would be that of all devices.
func notEmpty(cmd *cobra.Command, args []string) error {
	const hint = "a variable of your shell may be empty"
	for i, a := range args {
		if strings.TrimSpace(a) == "" {
			return usage(fmt.Sprintf("argument %d of `%s` is empty", i+1, cmd.CommandPath()), hint)
		}
	}
	var err error
	cmd.Flags().Visit(func(f *pflag.Flag) {
		if value := strings.TrimSpace(f.Value.String()); value == "" || value == "[]" {
			err = usage(fmt.Sprintf("--%s is empty", f.Name), hint)
		}
	})
	return err
}

// understand ends the reading of the command line.
func (p *program) understand(cmd *cobra.Command, args []string) error {
	if err := notEmpty(cmd, args); err != nil {
		return err
	}
	p.overrides = config.Overrides{}
	for _, text := range p.set {
		key, value, found := strings.Cut(text, "=")
		if !found || key == "" {
			return fmt.Errorf("--set %s: there is no `=` between key and value", text)
		}
		p.overrides[key] = value
	}
	if err := cmd.ValidateFlagGroups(); err != nil {
		return err
	}
	// Other processes, which run in another directory, are told these paths.
	for _, dir := range []*string{&p.stateDir, &p.runtimeDir} {
		absolute, err := filepath.Abs(*dir)
		if err != nil {
			return fmt.Errorf("finding the directory %s: %w", *dir, err)
		}
		*dir = absolute
	}
	p.reached = true
	return nil
}

// options gathers what package bridge needs.
func (p *program) options() bridge.Options {
	return bridge.Options{
		ConfigPath: p.configPath,
		StateDir:   p.stateDir,
		RuntimeDir: p.runtimeDir,
		Overrides:  p.overrides,
		Logger:     p.logger(),
		Version:    version(),
		Tools:      p.pageTools(),
	}
}

// daemon returns a client of the running daemon.
func (p *program) daemon() *api.Conn {
	return api.Dial(filepath.Join(p.runtimeDir, api.SocketName))
}

// say writes information for the person.
func (p *program) say(format string, args ...any) {
	fmt.Fprintf(p.err, "ztbridge: "+format+"\n", args...)
}

// complain writes an error, one line for each of a list, and its hint.
func (p *program) complain(err error) {
	for line := range strings.SplitSeq(err.Error(), "\n") {
		p.say("error: %s", line)
	}
	hint := api.Hint(err)
	if !p.reached && hint == "" {
		hint = "see `ztbridge help`"
	}
	if hint != "" {
		p.say("hint: %s", hint)
	}
}
