package attestor

import (
	"encoding/json"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// Limits of what a caller may attach to a decision.
const (
	MaxLabels     = 64
	MaxLabelName  = 128      // bytes
	MaxLabelValue = 1024     // bytes
	MaxLabelBytes = 16 << 10 // of all names and values together, as JSON writes them
)

// CheckLabels returns an [Error] of kind Invalid that names the limit, unless the
// labels may be recorded. They are counted as they are written out: what one caller
// sends in few bytes is read by others for as long as the record is kept.
func CheckLabels(labels map[string]string) error {
	invalid := func(fix, format string, args ...any) error {
		return &Error{Kind: Invalid, Msg: fmt.Sprintf(format, args...), Fix: fix}
	}
	if len(labels) > MaxLabels {
		return invalid("send fewer labels", "labels has %d entries, at most %d are allowed", len(labels), MaxLabels)
	}

	for name, value := range labels {
		switch {
		case name == "" || len(name) > MaxLabelName || len(value) > MaxLabelValue:
			return invalid("shorten the label, or leave it out",
				"a label is too long or has no name: a name has 1 to %d bytes, a value at most %d",
				MaxLabelName, MaxLabelValue)
		case !printable(name) || !printable(value):
			return invalid("send printable text", "a label has control characters, or is not UTF-8: neither is allowed")
		}
	}

	// JSON can write six bytes for one.
	written, err := json.Marshal(labels)
	if err != nil {
		return fmt.Errorf("encoding labels: %w", err)
	}
	if len(written) > MaxLabelBytes {
		return invalid("send fewer or shorter labels", "labels has %d bytes in JSON, at most %d are allowed",
			len(written), MaxLabelBytes)
	}
	return nil
}

// printable reports whether s is UTF-8 without control characters. Line breaks and
// tabs are text.
func printable(s string) bool {
	return utf8.ValidString(s) &&
		!strings.ContainsFunc(s, func(r rune) bool { return unicode.IsControl(r) && r != '\n' && r != '\t' })
}
