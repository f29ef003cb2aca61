package management

import (
	"errors"
	"strings"
)

// ErrInjection is returned for text that would end a command early and begin another.
var ErrInjection = errors.New("management: a command holds a line break or a zero byte")

// Quote writes s as one quoted parameter of a command. OpenVPN reads it with the lexer of its
// configuration files: inside double quotes only \ and " are special.
func Quote(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`).Replace(s) + `"`
}

// checkLine refuses what cannot be sent as one line.
func checkLine(s string) error {
	if strings.ContainsAny(s, "\n\r\x00") {
		return ErrInjection
	}
	return nil
}
