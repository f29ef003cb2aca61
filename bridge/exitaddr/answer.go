package exitaddr

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"
	"time"
)

// maxBody bounds what is read of an answer, in bytes. Those of the default services have less than
// 1000.
const maxBody = 4 << 10

// Answer is what a service said.
type Answer struct {
	Addr    netip.Addr // the zero value if none has answered
	Country string     // two capital letters (ISO 3166-1); empty where the answer has none
	Service string     // host of the service
	At      time.Time
}

var errAnswer = errors.New("the answer is not an address")

// countryRE matches a code of ISO 3166-1; XX, which is none, stands for unknown.
var countryRE = regexp.MustCompile(`^[A-Z]{2}$`)

// parse reads an answer: JSON, lines of key=value, or the address alone.
func parse(body []byte) (netip.Addr, string, error) {
	text := strings.TrimSpace(string(body))
	fields := map[string]string{}
	switch {
	case strings.HasPrefix(text, "{"):
		var object map[string]any
		decoder := json.NewDecoder(bytes.NewReader(body))
		if err := decoder.Decode(&object); err != nil {
			return netip.Addr{}, "", fmt.Errorf("%w: %w", errAnswer, err)
		}
		for key, value := range object {
			if s, ok := value.(string); ok {
				fields[key] = s
			}
		}
	case strings.Contains(text, "="):
		for line := range strings.Lines(text) {
			key, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			fields[key] = value
		}
	default:
		fields["ip"] = text
	}
	addr, err := netip.ParseAddr(cmp.Or(fields["ip"], fields["query"], fields["address"]))
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, "", errAnswer
	}
	country := ""
	for _, key := range []string{"loc", "country_iso", "country_code", "countryCode", "country"} {
		if c := fields[key]; country == "" && countryRE.MatchString(c) && c != "XX" {
			country = c
		}
	}
	return addr.Unmap(), country, nil
}

// public reports whether an address can be one that hosts in the Internet see.
func public(a netip.Addr) bool {
	return a.IsGlobalUnicast() && !a.IsPrivate()
}
