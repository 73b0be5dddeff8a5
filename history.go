package attestor

import "time"

// A TagPoint is one stretch of time in which a tag of an approved base named
// one digest, as far as it was observed.
type TagPoint struct {
	Repository string
	Tag        string
	Digest     Digest
	From       time.Time  // first seen
	Until      *time.Time // first seen to name something else; nil: it names this now
}
