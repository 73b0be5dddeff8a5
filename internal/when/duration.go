package when

import "time"

// A Duration is a [time.Duration] that files and flags write in the package's
// grammar. The zero value is no time at all.
type Duration time.Duration

// UnmarshalText reads what [ParseDuration] reads.
func (d *Duration) UnmarshalText(b []byte) error {
	v, err := ParseDuration(string(b))
	if err == nil {
		*d = Duration(v)
	}
	return err
}

// MarshalText writes what UnmarshalText reads.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String is the shortest form, with days.
func (d Duration) String() string { return FormatDuration(time.Duration(d)) }

// Set reads a flag's value.
func (d *Duration) Set(s string) error { return d.UnmarshalText([]byte(s)) }

// Type is how a flag's help calls the value.
func (*Duration) Type() string { return "duration" }
