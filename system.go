package attestor

import "time"

// The sources of a [System].
const (
	SystemFromScan  = "scan"       // what the scanner, or an imported report, says that it looked at
	SystemFromImage = "os-release" // the image's own /etc/os-release, read from layers with the config's diffIDs
)

// A System is the distribution in an image, with what the table of ends says of it. Both sources are claims of
// somebody: they can make a verdict worse, and nothing counts for an image because of them.
type System struct {
	ID      string `json:"id"`                // as in os-release: debian, ubuntu, alpine
	Version string `json:"version,omitempty"` // as it was given
	Source  string `json:"source"`            // [SystemFromScan] or [SystemFromImage]

	// Release is the table's name for the version; "" if the table does not have it.
	Release string `json:"release,omitempty"`

	// Rolling is true for a distribution without releases, which ends with its packages' updates only.
	Rolling bool `json:"rolling,omitempty"`

	// End is the last day, YYYY-MM-DD, on which fixes are published for everybody; "" if none is announced.
	End string `json:"end,omitempty"`

	// Successor is a release that is served longer, such as "debian 13"; "" for none.
	Successor string `json:"successor,omitempty"`

	// Table is the date of the table, YYYY-MM-DD.
	Table string `json:"table,omitempty"`
}

// Name is the system for people.
func (s *System) Name() string {
	switch {
	case s.Release != "":
		return s.ID + " " + s.Release
	case s.Version != "":
		return s.ID + " " + s.Version
	}
	return s.ID
}

// Ended reports whether the last day of fixes is over at t. A system without an end has not ended; an end that is no
// date may be any, and is over.
func (s *System) Ended(t time.Time) bool {
	if s.End == "" {
		return false
	}

	// The day itself still counts, in UTC.
	end, err := time.Parse(time.DateOnly, s.End[:min(len(s.End), len(time.DateOnly))])
	return err != nil || !t.Before(end.AddDate(0, 0, 1))
}
