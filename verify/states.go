package verify

import (
	"time"

	"github.com/attestor-gate/attestor"
)

// A BaseState is what is known of one approved base.
type BaseState struct {
	Base    attestor.ApprovedBase
	Tags    []TagState
	Problem string // why it could not be looked up; "" if it could
}

// A TagState is what one tag of a base names.
type TagState struct {
	Tag    string
	Digest attestor.Digest // "" if it was never looked up
	Since  time.Time       // first seen to name it
	Seen   time.Time       // last seen
}

// Bases reports on approved bases, for people. It asks nobody.
func (i *Inspector) Bases(bases []attestor.ApprovedBase) []BaseState {
	c := i.bases
	var states []BaseState
	for _, ab := range bases {
		s := BaseState{Base: ab}
		for _, p := range c.unresolved(c.known[amd64()], []attestor.ApprovedBase{ab}, 0) {
			s.Problem = p.Message
		}

		for _, tag := range ab.Tags {
			ts := TagState{Tag: tag}
			if t := c.tag(tagKey{ab.Repository, tag}); t.current() != "" {
				ts.Digest, ts.Since, ts.Seen = t.current(), t.points[len(t.points)-1].From, t.seen
			}
			s.Tags = append(s.Tags, ts)
		}
		states = append(states, s)
	}
	return states
}
