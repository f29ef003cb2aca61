package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"ztbridge/bridge"
	"ztbridge/bridge/api"
	"ztbridge/bridge/services"
	"ztbridge/bridge/status"
)

// clearScreen moves the cursor home and clears what is below it.
const clearScreen = "\x1b[H\x1b[J"

func (p *program) statusCommand() *cobra.Command {
	var asJSON, watch bool
	var of netip.Addr
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Show which exit each device uses now, and why",
		Long: `Show which exit each device uses now, since when and why; what is wrong, and how to
fix it. -v adds interfaces, tables and the last changes of the kernel. With --of, say
what happens to packets of one address and why. Exit code 3: the daemon is not
running, or something is not as configured.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch {
			case of.IsValid():
				return p.explain(cmd, of, asJSON)
			case watch:
				return p.daemon().Watch(cmd.Context(),
					func(s api.Status) error { return p.frame(s, asJSON) })
			}
			s, err := p.daemon().Status(cmd.Context())
			if err != nil {
				return p.withoutDaemon(err, asJSON)
			}
			if err := p.show(s, p.draw(s), asJSON); err != nil {
				return err
			}
			if s.Version != version() {
				p.say(
					"hint: the daemon is of version %s and this program of %s: restart it "+
						"(`systemctl restart ztbridge`)", s.Version, version())
			}
			if s.State != api.Working {
				return errState
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "answer in JSON")
	cmd.Flags().BoolVar(&watch, "watch", false, "go on and show each change")
	cmd.Flags().TextVar(&of, "of", netip.Addr{},
		"explain what happens to packets of this `address`")
	cmd.MarkFlagsMutuallyExclusive("watch", "of")
	return cmd
}

// withoutDaemon describes a box on which no daemon runs, as JSON if that is asked for, else as an
// error.
func (p *program) withoutDaemon(err error, asJSON bool) error {
	if !errors.Is(err, api.ErrNotRunning) {
		return err
	}
	s, offline := bridge.Offline(p.options())
	if offline != nil {
		return p.withNotice(err) // as who may not look into the kernel
	}
	hint := api.Hint(err)
	if _, fault := services.Check(p.configPath, p.overrides); fault != nil &&
		!errors.Is(fault, fs.ErrPermission) {
		s.Summary += " It cannot start: " + strings.ReplaceAll(fault.Error(), "\n", "; ")
		hint = "correct that, try it with `ztbridge config check`, and start it: " +
			"`systemctl start ztbridge`"
	}
	if !asJSON {
		return p.withNotice(&api.HintedError{Err: notRunning(s.Summary), Hint: hint})
	}
	if err := p.show(s.Filled(), "", true); err != nil {
		return err
	}
	return errState
}

// notRunning is what a box is like on which no daemon runs, in a sentence.
type notRunning string

func (e notRunning) Error() string        { return string(e) }
func (e notRunning) Is(target error) bool { return target == api.ErrNotRunning }

// withNotice lets who prepared the box say why no daemon runs, which its log cannot know.
func (p *program) withNotice(err error) error {
	notice := status.ReadNotice(p.runtimeDir)
	if notice.Message == "" || !errors.Is(err, api.ErrNotRunning) {
		return err
	}
	return &api.HintedError{Err: fmt.Errorf("%w: %s", api.ErrNotRunning, notice.Message),
		Hint: notice.Remedy}
}

func (p *program) explain(cmd *cobra.Command, of netip.Addr, asJSON bool) error {
	e, err := p.daemon().Explain(cmd.Context(), of)
	if err != nil {
		return err
	}
	text := api.RenderExplanation(e)
	// Rules are one thing, and whether packets get through another.
	if s, err := p.daemon().Status(cmd.Context()); err == nil && s.State != api.Working {
		text = strings.TrimRight(text, "\n") + "\n\nThe box as a whole: " + s.Summary + "\n"
	}
	return p.show(e, text, asJSON)
}

// draw returns what a person reads: with -v all there is.
func (p *program) draw(s api.Status) string {
	if p.verbose {
		return api.RenderDetails(s)
	}
	return api.Render(s)
}

// frame shows one of a series: on a terminal in place of the one before, else below it.
func (p *program) frame(s api.Status, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(p.out).Encode(s)
	}
	text := p.draw(s) + "\n"
	if isTerminal(p.out) {
		text = clearScreen + text
	}
	_, err := fmt.Fprint(p.out, text)
	return err
}

func (p *program) show(value any, text string, asJSON bool) error {
	if !asJSON {
		_, err := fmt.Fprint(p.out, text)
		return err
	}
	encoder := json.NewEncoder(p.out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(value)
}

func isTerminal(w any) bool {
	file, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}
