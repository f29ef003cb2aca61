package profile

import "fmt"

// maxIncludes bounds how many files a profile includes in all, also those that do so themselves.
const maxIncludes = 10

// takeConfig reads "config FILE": the file's lines in the place of this one.
func takeConfig(p *parser, d directive) error {
	switch {
	case len(d.args) != 1:
		return fmt.Errorf("expected: config FILE")
	case p.options.Files == nil:
		return fmt.Errorf("the file %q is not read; put its lines in the place of this one",
			d.args[0])
	case p.includes == maxIncludes:
		return fmt.Errorf("more than %d files are included; perhaps one includes itself",
			maxIncludes)
	}
	p.includes++
	name := d.args[0]
	data, err := p.options.Files(name)
	if err != nil {
		return fmt.Errorf("reading %q: %w; or put its lines in the place of this one", name, err)
	}
	list, err := lex(data, name)
	if err != nil {
		return err
	}
	for _, in := range list {
		if err := p.take(in); err != nil {
			return fmt.Errorf("%s:%d: %s: %w", name, in.line, in.name, err)
		}
	}
	return nil
}
