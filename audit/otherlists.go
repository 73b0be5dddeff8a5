package audit

import (
	"context"
	"math"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/filter"
	"github.com/attestor-gate/attestor/internal/translog"
)

// A RevocationPage is part of a list of revocations. Next is "" on the last.
type RevocationPage struct {
	Revocations []attestor.RecordedRevocation
	Next        string
}

// revocationsLooked bounds the revocations that one page looks at, however many of them its caller may not see.
const revocationsLooked = 4000

// ListRevocations lists finished revocations, the newest first: those of f's period and repositories that Visible
// shows. Nothing else of f counts. A page may be shorter than size, even empty, and have a token.
func (s *Store) ListRevocations(ctx context.Context, f Filter, size int, token string) (RevocationPage, error) {
	const doing = "listing revocations"
	if s.none {
		return RevocationPage{}, unsupported()
	}
	if size <= 0 {
		size = DefaultPageSize
	}
	size = min(size, MaxPageSize)

	// A token of a list of decisions is none of this list.
	f = Filter{
		Since: f.Since, Until: f.Until, Repository: f.Repository, Visible: f.Visible,
		Period: "revocations " + f.Period,
	}
	f, pos, err := resume(f, token)
	if err != nil {
		return RevocationPage{}, err
	}
	wanted, err := revocationsOf(f)
	if err != nil {
		return RevocationPage{}, err
	}

	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()

	page, bodies, err := s.revocationPage(ctx, f, pos, size, wanted)
	if err != nil {
		return RevocationPage{}, s.fail(doing, err)
	}
	if err := s.markRevocations(ctx, page.Revocations, bodies); err != nil {
		return RevocationPage{}, s.fail(doing, err)
	}
	return page, nil
}

// revocationsOf returns a filter's condition on the repository of a revocation.
func revocationsOf(f Filter) (func(repository string) bool, error) {
	matches := func(repository string) bool { return repository == f.Repository }
	switch {
	case f.Repository == "":
		matches = func(string) bool { return true }
	case f.Pattern():
		pattern, err := attestor.ParsePattern(f.Repository)
		if err != nil {
			return nil, err
		}
		matches = pattern.Match
	case !f.Full():
		matches = func(repository string) bool { return filter.AtEnd(repository, f.Repository) }
	}

	// Whatever is asked for, only what the caller may read is shown.
	return func(repository string) bool {
		return matches(repository) && (f.Visible == nil || f.Visible(repository))
	}, nil
}

// revocationPage reads a page along the index of times, with the bodies as they are recorded.
func (s *Store) revocationPage(
	ctx context.Context, f Filter, pos position, size int, wanted func(repository string) bool,
) (page RevocationPage, bodies []string, err error) {
	st := s.statement()
	st.add("SELECT id, at, repository, body FROM revocations WHERE state = 'finished'")
	if !f.Since.IsZero() {
		st.add(" AND at >= ?", f.Since.UnixMicro())
	}
	if !f.Until.IsZero() {
		st.add(" AND at < ?", f.Until.UnixMicro())
	}
	if pos != (position{}) {
		st.add(" AND (at, id) < (?, ?)", pos.at, pos.id)
	}

	// One row more than is looked at shows whether there is a next page.
	st.add(" ORDER BY at DESC, id DESC LIMIT ?", revocationsLooked+1)
	rows, err := s.from(ctx).QueryContext(ctx, st.text.String(), st.args...)
	if err != nil {
		return page, nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	// last is the place of the last one that was looked at: the next page begins behind it.
	var last position
	for looked, bytes := 0, 0; rows.Next(); looked++ {
		var here position
		var repository, body string
		if err := rows.Scan(&here.id, &here.at, &repository, &body); err != nil {
			return page, nil, err
		}

		shown := wanted(repository)
		full := len(bodies) == size || len(bodies) > 0 && bytes+len(body) > maxPage
		if looked == revocationsLooked || shown && full {
			page.Next = tokenOf(f, last)
			return page, bodies, nil
		}
		if last = here; !shown {
			continue
		}

		r, err := revocationOf(body)
		if err != nil {
			return page, nil, err
		}
		page.Revocations = append(page.Revocations, attestor.RecordedRevocation{RevocationRecord: r})
		bodies, bytes = append(bodies, body), bytes+len(body)
	}
	return page, bodies, rows.Err()
}

// markRevocations compares revocations, as they are recorded, with the log's entries.
func (s *Store) markRevocations(ctx context.Context, list []attestor.RecordedRevocation, bodies []string) error {
	complete, err := s.logComplete(ctx)
	if err != nil || len(list) == 0 {
		return err
	}

	// A record without an entry is a fault only once all older records were entered.
	ids := make([]string, len(list))
	for i, r := range list {
		ids[i] = r.ID
	}
	leaves, err := translog.FindAll(ctx, s.from(ctx), kindRevocation, ids)
	if err != nil {
		return err
	}

	for i := range list {
		leaf, ok := leaves[list[i].ID]
		switch {
		case ok:
			parts := map[string][]byte{kindRevocation: []byte(bodies[i])}
			list[i].Log = &attestor.LogEntry{Index: leaf.Index, Changed: differs(leaf, parts, true)}
		case complete:
			list[i].Log = &attestor.LogEntry{Index: -1, Changed: changedNoEntry}
		}
	}
	return nil
}

// A PolicyChangePage is part of the list of policy changes. Next is "" on the last.
type PolicyChangePage struct {
	Changes []attestor.PolicyChange
	Next    string
}

// ListPolicyChanges lists a page of what [Store.PolicyChanges] lists.
func (s *Store) ListPolicyChanges(ctx context.Context, size int, token string) (PolicyChangePage, error) {
	if s.none {
		return PolicyChangePage{}, unsupported()
	}
	if size <= 0 {
		size = DefaultPageSize
	}
	size = min(size, MaxPageSize)

	// Changes have numbers without gaps, and no filter.
	f, pos, err := resume(Filter{Period: "policy changes"}, token)
	if err != nil {
		return PolicyChangePage{}, err
	}
	before := int64(math.MaxInt64)
	if pos != (position{}) {
		before = pos.at
	}

	page, bytes := PolicyChangePage{Changes: []attestor.PolicyChange{}}, 0
	for c, err := range s.policyChanges(ctx, before) {
		if err != nil {
			return PolicyChangePage{}, err
		}
		if n := len(page.Changes); n == size || n > 0 && bytes+len(c.body) > maxPage {
			page.Next = tokenOf(f, position{at: before, id: page.Changes[n-1].ID})
			break
		}
		page.Changes, bytes, before = append(page.Changes, c.change), bytes+len(c.body), c.n
	}
	return page, nil
}
