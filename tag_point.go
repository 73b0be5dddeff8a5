package attestor

import "time"

// A TagPoint is one stretch of time in which a tag of an approved base named
// one digest, as far as it was observed. Between two observations that name the
// same digest, the tag is taken to have named it throughout.
type TagPoint struct {
	Repository string
	Tag        string
	Digest     Digest
	From       time.Time // first observed to name Digest
	// last observed to name Digest, within minutes; zero: not recorded, as by versions before there was the field
	Seen  time.Time
	Until *time.Time // first observed to name something else; nil: it names Digest now
}

// MaxTagPoints bounds how much of one tag's past is kept in memory and handed
// over: the newest points. At one move a minute it is the last sixteen hours; at
// one a day, nearly three years.
const MaxTagPoints = 1000
