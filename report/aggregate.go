package report

import (
	"fmt"
	"iter"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/page"
	"github.com/attestor-gate/attestor/internal/tally"
)

// Kept is what a record keeps for reports over a period that ends now, so that not
// every decision has to be read. What is said of images comes from Facts, First and
// Warned, or, where Facts is nil, from Lines.
type Kept struct {
	Facts  iter.Seq2[tally.Fact, error] // sums over the newest decisions on all images
	First  iter.Seq2[tally.Line, error] // for the table of images: those that need somebody first
	Warned iter.Seq2[tally.Line, error] // for the examples of what is refused later, newest first
	Until  time.Time                    // of the newest decision

	Lines iter.Seq2[tally.Line, error] // of the newest decision on each image

	Days      iter.Seq2[tally.DayCount, error]
	Overrides iter.Seq2[attestor.Decision, error] // newest first
	Revoked   iter.Seq2[attestor.Decision, error] // whose attestations were deleted since
	Since     time.Time                           // of the oldest decision; zero: the beginning of the first day
}

// addImages adds what a record keeps of images.
func (b *Builder) addImages(k Kept) error {
	// Without facts every image has a line of its own, and counts by it.
	if k.Facts == nil {
		for l, err := range k.Lines {
			if err != nil {
				return err
			}
			if err := b.line(l, ""); err != nil {
				return err
			}
			if l.Row.Time.After(b.s.Until) {
				b.s.Until = l.Row.Time
			}
		}
		return nil
	}

	// Facts have all the counts. Lines are read of the images that are shown, and of those that a warning names.
	for f, err := range k.Facts {
		if err != nil {
			return err
		}
		if err := b.fact(f); err != nil {
			return err
		}
	}
	for l, err := range k.First {
		if err != nil {
			return err
		}
		b.keep(l.Row)
	}
	for l, err := range k.Warned {
		if err != nil {
			return err
		}
		b.example(l)
	}
	b.s.Until = k.Until.UTC()
	return nil
}

// Aggregate sums up what a record keeps. The summary is that of [Summarise] over the
// decisions, but for GroupBy, which needs the decisions' labels.
func Aggregate(k Kept, o SummaryOptions) (Summary, error) {
	b := NewBuilder(o)
	if !k.Since.IsZero() {
		b.s.Since = k.Since.UTC()
	}
	if err := b.addImages(k); err != nil {
		return Summary{}, fmt.Errorf("summing up images: %w", err)
	}

	// Days count all decisions, images only the newest one on each.
	for c, err := range k.Days {
		if err != nil {
			return Summary{}, fmt.Errorf("summing up days: %w", err)
		}
		b.addCount(c)
	}

	// The oldest decision itself may be another's secret.
	if first := b.firstDay(); k.Since.IsZero() && !first.IsZero() {
		b.s.Since = first
	}
	for d, err := range k.Overrides {
		if err != nil {
			return Summary{}, fmt.Errorf("summing up overrides: %w", err)
		}
		b.override(d)
	}
	for _, err := range k.Revoked {
		if err != nil {
			return Summary{}, fmt.Errorf("summing up revocations: %w", err)
		}
		b.s.Revoked++
	}
	return b.Summary(), nil
}

// firstDay is the first day of the trend, or the zero time.
func (b *Builder) firstDay() time.Time {
	var first time.Time
	for _, p := range b.days {
		if first.IsZero() || p.Day.Before(first) {
			first = p.Day
		}
	}
	return first
}

// addCount adds decisions to the totals and to their day.
func (b *Builder) addCount(c tally.DayCount) {
	b.s.Decisions += c.Decisions
	b.s.Emulated = b.s.Emulated || c.Emulated > 0

	// One refusal that took effect is enough for "were refused".
	if c.Enforced > 0 {
		b.s.DryRun = false
	}

	at := b.day(c.Day)
	at.count(c.Verdict, c.Decisions)
	b.policyDay(c.Policy, c.Day).count(c.Verdict, c.Decisions)
	for level, n := range c.Findings {
		if n != 0 {
			at.Findings[level] += n
		}
	}
}

func (b *Builder) override(d attestor.Decision) {
	if g := d.BreakGlass; g != nil {
		b.s.Overrides = append(b.s.Overrides, page.Override{
			ID: d.ID, Image: describe.Name(d), By: g.By, Reason: g.Reason, Time: d.Time.UTC(), Expires: g.Expires,
			State: overrideState(d),
		})
	}
}
