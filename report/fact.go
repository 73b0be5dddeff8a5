package report

import (
	"fmt"
	"strconv"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/tally"
	"github.com/attestor-gate/attestor/internal/when"
)

// fact adds a part of a line, or of the sum of many. An error is a key that this version
// does not know how to read.
func (b *Builder) fact(f tally.Fact) error {
	// The count of images itself has no parts.
	if f.Kind == tally.KindImage {
		b.s.Images += int(f.Images)
		b.s.Passed += int(f.Passed)
		b.s.Refused += int(f.Refused)
		b.s.Undecided += int(f.Undecided)
		return nil
	}

	parts, err := f.Parts()
	if err != nil {
		return err
	}
	switch f.Kind {
	case tally.KindGroup:
		b.group(parts[0], f.Numbers)
	case tally.KindReason:
		b.reason(attestor.Code(parts[0]), f.Numbers)
	case tally.KindFix:
		b.fix(parts[0], attestor.Code(parts[1]), f.Numbers)
	case tally.KindOwner:
		o := entry(b.owners, parts[0])
		addGroup(&o.GroupCount, parts[0], f.Numbers)
	case tally.KindOwnerFix:
		b.ownerFix(parts[0], parts[1], attestor.Code(parts[2]), f.Numbers)
	case tally.KindBase:
		return b.base(parts[0], parts[1] != "", parts[2], f.Numbers)
	case tally.KindAge:
		return b.age(parts[0], attestor.Severity(parts[1]), f.Numbers)
	case tally.KindException:
		b.exception(parts, f.Numbers)
	case tally.KindStale:
		b.stale(parts[0], parts[1])
	case tally.KindDay:
		b.upcomingOf(parts[0], parts[1]).Images += int(f.Images)
	case tally.KindDayReason:
		b.upcomingOf(parts[0], parts[1]).ByReason[attestor.Code(parts[2])] += int(f.Images)
	}
	return nil
}

func (b *Builder) group(name string, n tally.Numbers) { addGroup(entry(b.groups, name), name, n) }

func addGroup(g *GroupCount, name string, n tally.Numbers) {
	g.Name = name
	g.Images += int(n.Images)
	g.Passed += int(n.Passed)
	g.Refused += int(n.Refused)
	g.Undecided += int(n.Undecided)
	g.Fixable += int(n.N)
}

func (b *Builder) reason(code attestor.Code, n tally.Numbers) {
	r := entry(b.reasons, code)
	r.Code = code
	r.Images += int(n.Images)
	r.Count += int(n.N)
}

// fix counts a fix under the first code that asks for it.
func (b *Builder) fix(fix string, code attestor.Code, n tally.Numbers) {
	addFix(entry(b.fixes, fix), fix, code, n)
}

func addFix(f *FixCount, fix string, code attestor.Code, n tally.Numbers) {
	f.Fix = fix

	// Several codes may ask for one fix: the first by name stands for it.
	if f.Code == "" || code < f.Code {
		f.Code = code
	}
	f.Images += int(n.Images)
	f.Clears += int(n.N)
}

func (b *Builder) base(name string, outdated bool, days string, n tally.Numbers) error {
	c := entry(b.bases, name)
	c.Name = name
	c.Images += int(n.Images)
	c.Refused += int(n.Images - n.Passed)
	if !outdated {
		return nil
	}

	c.Outdated += int(n.Images)
	c.Clears += int(n.N)
	behind, err := strconv.Atoi(days)
	if err != nil {
		return fmt.Errorf("the sum of the base %s: %w", name, err)
	}

	// The image that is furthest behind counts for the base.
	if behind > b.behind[name] {
		b.behind[name] = behind
		c.Behind = fmt.Sprintf("%dd", behind)
	}
	return nil
}

func (b *Builder) age(published string, level attestor.Severity, n tally.Numbers) error {
	since, err := strconv.ParseInt(published, 10, 64)
	if err != nil {
		return fmt.Errorf("the sum of an advisory's day: %w", err)
	}

	var at *time.Time
	if since != 0 {
		at = new(time.Unix(since*int64(day/time.Second), 0))
	}
	b.ages[age(at, b.o.Now)][level] += int(n.N)
	return nil
}

// exception counts one that was used. It is expired where it was so for any image: the
// others were judged before.
func (b *Builder) exception(parts []string, n tally.Numbers) {
	a := attestor.AppliedException{
		ID: parts[0], Owner: parts[1], Reason: parts[2], Expires: parts[3], Expired: parts[4] == "true",
	}
	e := entry(b.exceptions, tally.ExceptionKey(a))
	e.ID, e.Owner, e.Reason, e.Expires = a.ID, a.Owner, a.Reason, a.Expires
	if e.State != ExceptionExpired {
		e.State = b.state(a)
	}
	e.Images += int(n.Images)
}

func (b *Builder) state(a attestor.AppliedException) string {
	expires, err := when.ParseDate(a.Expires)
	switch {
	case a.Expired:
		return ExceptionExpired
	case err == nil && expires.Sub(b.o.Now) < expiringWithin:
		return ExceptionExpiring
	}

	return ExceptionInUse
}

// stale notes an exception that matched nothing, with the first of its messages.
func (b *Builder) stale(subject, message string) {
	e := entry(b.exceptions, "unused\x00"+subject)
	if e.Reason == "" || message < e.Reason {
		e.Reason = message
	}
	e.ID, e.State = subject, ExceptionUnused
}

// upcomingOf is a day from which images are refused.
func (b *Builder) upcomingOf(from, owner string) *attestor.Upcoming {
	u := entry(b.upcoming, [2]string{from, owner})
	if u.ByReason == nil {
		*u = attestor.Upcoming{
			EffectiveFrom: from, Owner: owner, ByReason: map[attestor.Code]int{}, Examples: []string{},
		}
	}
	return u
}

// maxExamples is how many images a day names, as [attestor.UpcomingCounts] has them.
const maxExamples = 10

// example names an image for the days from which it is refused.
func (b *Builder) example(l tally.Line) {
	seen := map[[2]string]bool{}
	for _, r := range l.Upcoming {
		at := [2]string{r.EffectiveFrom, r.Owner}
		if r.EffectiveFrom == "" || seen[at] {
			continue
		}
		seen[at] = true
		if u := b.upcomingOf(at[0], at[1]); len(u.Examples) < maxExamples {
			u.Examples = append(u.Examples, l.Row.Image)
		}
	}
}
