package profile

import "fmt"

// maxIncludes bounds how deep files include others, as OpenVPN does (max_recursive_levels).
const maxIncludes = 10

// takeConfig reads "config FILE": the file's lines in the place of this one.
func takeConfig(p *parser, d directive) error {
	switch {
	case len(d.args) != 1:
		return fmt.Errorf("expected: config FILE")
	case p.options.Files == nil:
		return fmt.Errorf("the file %q is not read; put its lines in the place of this one",
			d.args[0])
	case p.depth == maxIncludes:
		return fmt.Errorf("files include each other more than %d deep; perhaps one includes itself",
			maxIncludes)
	}
	name := d.args[0]
	data, err := p.options.Files(name)
	if err != nil {
		return fmt.Errorf("reading %q: %w; or put its lines in the place of this one", name, err)
	}
	list, err := lex(data, name)
	if err != nil {
		return err
	}
	p.depth++
	defer func() { p.depth-- }()
	for _, in := range list {
		if err := p.take(in); err != nil {
			return fmt.Errorf("%s:%d: %s: %w", name, in.line, in.name, err)
		}
	}
	return nil
}
