package engine

import (
	"context"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/filter"
	"github.com/attestor-gate/attestor/internal/tally"
	"github.com/attestor-gate/attestor/internal/when"
	"github.com/attestor-gate/attestor/report"
)

// Summarise sums up the decisions of a filter. Where the filter has only a beginning, it
// does so by the sums that the record keeps; where it has repositories or a caller too,
// by one line for each of their images; otherwise it reads every decision. A period that
// is relative to the clock begins with a whole UTC day.
func Summarise(
	ctx context.Context, s *audit.Store, f filter.Filter, o report.SummaryOptions,
) (report.Summary, error) {
	ctx = audit.MayLag(ctx)
	if whole, ok := wholeDays(f); ok && o.GroupBy == "" && audit.Summable(f) {
		out, err := fromSums(ctx, s, whole, o)

		// After an update earlier decisions are not in the sums yet. They are in the
		// record.
		if attestor.KindOf(err) != attestor.Unavailable || ctx.Err() != nil {
			return out, err
		}
	}
	return report.Summarise(s.Records(ctx, f), o)
}

// wholeDays returns a filter whose period begins with a UTC day. It is false for one
// that is fixed to another instant: that is what was asked for.
func wholeDays(f filter.Filter) (filter.Filter, bool) {
	// A day is the smallest period that the record has sums of.
	start := f.Since.UTC().Truncate(tally.Day)
	if f.Since.IsZero() || start.Equal(f.Since) {
		return f, true
	}

	since, _, _ := strings.Cut(strings.TrimPrefix(f.Period, "since="), "&")
	if _, err := when.ParseDuration(since); err != nil {
		return f, false
	}
	f.Since = start
	return f, true
}

// fromSums sums up what the record keeps.
func fromSums(ctx context.Context, s *audit.Store, f filter.Filter, o report.SummaryOptions) (report.Summary, error) {
	// Overrides and revocations are few: they are read one by one.
	overridden, revoked := f, f
	overridden.BreakGlass, revoked.Revoked = true, true
	kept := report.Kept{
		Lines: s.Images(ctx, f), Days: s.Days(ctx, f),
		Overrides: s.Decisions(ctx, overridden), Revoked: s.Decisions(ctx, revoked),
	}

	// The oldest decision of all is shown only to a caller who may read everything.
	if audit.Whole(f) {
		var err error
		kept.Facts, kept.First, kept.Warned = s.Facts(ctx, f), s.First(ctx, f, o.MaxRows), s.Warned(ctx, f)
		if kept.Until, err = s.Latest(ctx, f.Since); err != nil {
			return report.Summary{}, err
		}
		if kept.Since, err = s.Oldest(ctx, f.Since); err != nil {
			return report.Summary{}, err
		}
	}
	return report.Aggregate(kept, o)
}

// sincePeriod is a filter with a beginning: its own, or so long before its end.
func sincePeriod(f filter.Filter, period time.Duration, now time.Time) filter.Filter {
	if !f.Since.IsZero() {
		return f
	}

	end := f.Until
	if end.IsZero() {
		end = now
	}
	f.Since = end.Add(-period)
	f.Period = "since=" + when.FormatDuration(period) + "&until="
	return f
}
