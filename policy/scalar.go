package policy

import (
	"encoding/json"
	"reflect"
	"slices"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/plain"
	"github.com/attestor-gate/attestor/internal/when"
)

// The enumerations; every value that files may hold is in [enumValues].
type (
	// Names is what to do about user names.
	Names string
	// Response is what to do about something found.
	Response string
	// Treatment is what to do about something reported; its third word says that nobody looks at it.
	Treatment string
	// SecretStatus is the status of a secret.
	SecretStatus string
	// SBOMFormat is a format of bills of materials.
	SBOMFormat string
	// Published is which decisions have a verification summary.
	Published string
	// Binary is the same, without the middle way.
	Binary string
	// Continuous is whether continuous analysis is demanded.
	Continuous string
	// CheckMode is whether a check refuses or warns.
	CheckMode string
	// VEXStatus is a VEX statement's status.
	VEXStatus string
)

// The values that code compares with.
const (
	PublishPassed  Published = "passed"
	PublishRefused Published = "passedAndRefused"

	NamesRefuse  Names = "refuse"
	NamesResolve Names = "resolve"

	RespondDeny  Response = "deny"
	RespondWarn  Response = "warn"
	RespondAllow Response = "allow"

	TreatDeny   Treatment = "deny"
	TreatWarn   Treatment = "warn"
	TreatIgnore Treatment = "ignore"

	BinaryDeny  Binary = "deny"
	BinaryAllow Binary = "allow"

	ContinuousRequired Continuous = "required"
	ContinuousOptional Continuous = "optional"

	CheckEnforce CheckMode = "enforce"
	CheckWarn    CheckMode = "warn"
)

// enumValues lists what a type's texts may be; nil where it is no enumeration.
func enumValues(t reflect.Type) []string {
	switch t {
	case reflect.TypeFor[attestor.Mode]():
		return []string{"enforce", "dryRun"}
	case reflect.TypeFor[attestor.Level]():
		return []string{"layers-exact", "diffids-verified", "attested"}
	case reflect.TypeFor[attestor.Ceiling]():
		return []string{"BLOCK_ALL", "MINIMAL", "LOW", "MEDIUM", "HIGH", "CRITICAL", "ALLOW_ALL"}
	case reflect.TypeFor[attestor.Severity]():
		return []string{"MINIMAL", "LOW", "MEDIUM", "HIGH", "CRITICAL"}
	case reflect.TypeFor[Names]():
		return []string{"refuse", "resolve"}
	case reflect.TypeFor[Response]():
		return []string{"deny", "warn", "allow"}
	case reflect.TypeFor[Treatment]():
		return []string{"deny", "warn", "ignore"}
	case reflect.TypeFor[SecretStatus]():
		return []string{attestor.SecretValid, attestor.SecretInvalid, attestor.SecretUnknown}
	case reflect.TypeFor[SBOMFormat]():
		return []string{attestor.FormatSPDX, attestor.FormatCycloneDX}
	case reflect.TypeFor[Published]():
		return []string{string(PublishPassed), string(PublishRefused)}
	case reflect.TypeFor[Binary]():
		return []string{"deny", "allow"}
	case reflect.TypeFor[Continuous]():
		return []string{"required", "optional"}
	case reflect.TypeFor[CheckMode]():
		return []string{"enforce", "warn"}
	case reflect.TypeFor[attestor.Outcome]():
		return []string{"pass", "deny", "error"}
	case reflect.TypeFor[attestor.Code]():
		return codeNames()
	case reflect.TypeFor[VEXStatus]():
		return []string{"not_affected", "fixed"}
	}
	return nil
}

func codeNames() []string {
	var names []string
	for _, c := range attestor.Codes() {
		names = append(names, string(c.Code))
	}
	return names
}

// OrAll is a list, or the word "all", which is nil.
type OrAll []string

// Has reports whether s is in the list, or the list is all.
func (l OrAll) Has(s string) bool { return l == nil || slices.Contains(l, s) }

// MarshalJSON writes "all" for nil.
func (l OrAll) MarshalJSON() ([]byte, error) {
	if l == nil {
		return []byte(`"all"`), nil
	}
	return json.Marshal([]string(l))
}

// A Duration is written as numbers with units, such as 14d, 1.5h or 1h30m; a
// bare 0 is allowed.
type Duration = when.Duration

const dateForm = time.DateOnly

// A Date is a day that ends at its end, UTC. The zero value is no day.
type Date struct{ start time.Time }

// UnmarshalText accepts YYYY-MM-DD only.
func (d *Date) UnmarshalText(b []byte) error {
	t, err := when.ParseDate(string(b))
	if err == nil {
		*d = Date{start: t}
	}
	return err
}

// MarshalText writes what UnmarshalText reads.
func (d Date) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// String is YYYY-MM-DD.
func (d Date) String() string { return d.start.Format(dateForm) }

// IsZero reports whether no date was given.
func (d Date) IsZero() bool { return d.start.IsZero() }

// End is the first instant that is no longer in the day.
func (d Date) End() time.Time { return d.start.AddDate(0, 0, 1) }

// Equal lets dates be compared by value.
func (d Date) Equal(o Date) bool { return d.start.Equal(o.start) }

// clip keeps hostile input from filling a message.
func clip(s string) string { return plain.Clip(s, maxQuoted) }

func quoted(s string) string { return plain.Quote(s, maxQuoted) }

// maxQuoted is how many bytes of a text from outside a message holds.
const maxQuoted = 100
