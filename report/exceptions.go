package report

import (
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/tally"
	"github.com/attestor-gate/attestor/internal/when"
)

// addUnused adds the exceptions of the policies in force that no image used, with their owner and end. A decision warns
// of an exception that matched nothing on its own image: that says nothing about the others, so that these warnings are
// dropped.
func (b *Builder) addUnused() {
	if b.o.InForce == nil {
		return
	}

	for key, e := range b.exceptions {
		if e.State == ExceptionUnused && strings.HasPrefix(key, "unused\x00") {
			delete(b.exceptions, key)
		}
	}

	// An exception that an image used is in the list, with its numbers.
	for _, a := range b.o.InForce {
		key := tally.ExceptionKey(a)
		if b.exceptions[key] != nil {
			continue
		}
		a.Expired = ended(a, b.o.Now)
		state := ExceptionUnused
		if a.Expired {
			state = ExceptionExpired
		}
		b.exceptions[key] = &ExceptionUse{ID: a.ID, Owner: a.Owner, Reason: a.Reason, Expires: a.Expires, State: state}
	}
}

// ended reports whether an exception's last day, UTC, has passed.
func ended(a attestor.AppliedException, now time.Time) bool {
	last, err := when.ParseDate(a.Expires)
	return err == nil && !now.Before(last.AddDate(0, 0, 1))
}

// EndingSoon are the exceptions that have ended or end within thirty days.
func (s Summary) EndingSoon() []ExceptionUse {
	return s.exceptionsIn(ExceptionExpired, ExceptionExpiring)
}

// UnusedExceptions are those that no image used.
func (s Summary) UnusedExceptions() []ExceptionUse { return s.exceptionsIn(ExceptionUnused) }

// UsedExceptions are those in use whose end is not near.
func (s Summary) UsedExceptions() []ExceptionUse { return s.exceptionsIn(ExceptionInUse) }

func (s Summary) exceptionsIn(states ...string) []ExceptionUse {
	var out []ExceptionUse
	for _, e := range s.Exceptions {
		for _, state := range states {
			if e.State == state {
				out = append(out, e)
			}
		}
	}
	return out
}
