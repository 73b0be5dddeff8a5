package audit

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/pressly/goose/v3"
)

// A position is the last decision of a page, in a list with the newest one first.
type position struct {
	at int64
	id string
}

// before reports whether p is newer than q.
func (p position) before(q position) bool { return p.at > q.at || p.at == q.at && p.id > q.id }

// Limits of one step through a list, so that it ends soon whatever is looked for.
const (
	maxScanned = 4000    // decisions that are looked at
	maxChunk   = 1000    // of them, by one statement
	stepBytes  = 2 << 20 // of the decisions and outlines that are found
)

// A step is a part of a list.
type step struct {
	heads []head
	end   position // the last decision that was looked at
	more  bool     // the list goes on after end
}

// A list walks through the decisions of a filter, newest first.
type list struct {
	s        *Store
	plans    []*plan // whose lists are merged
	evidence bool    // the heads have their evidence
	sample   int     // of that many decisions one is read; 0 or 1: all
	counting bool    // the heads have no content, and are not bounded in bytes
}

// list makes the plans of a filter.
func (s *Store) list(ctx context.Context, f Filter, evidence bool) (*list, error) {
	l := &list{s: s, evidence: evidence}
	for _, g := range f.Alternatives() {
		// What was recorded a moment ago may be in the queue still: the index must have
		// it before it is asked, or else the newest decisions would be missing.
		if indexed(g) {
			if err := s.catchUp(ctx); err != nil {
				return nil, err
			}
		}
		p, err := s.plan(ctx, g)
		if err != nil {
			return nil, err
		}
		l.plans = append(l.plans, p)
	}
	return l, nil
}

// next reads at most n decisions that follow pos; the zero position is before the
// first one.
func (l *list) next(ctx context.Context, pos position, n int) (step, error) {
	var all []step
	for _, p := range l.plans {
		st, err := l.scan(ctx, p, pos, n)
		if err != nil {
			return step{}, err
		}
		all = append(all, st)
	}
	if len(all) == 1 {
		return all[0], nil
	}
	return merge(all, pos, n), nil
}

// merge joins steps from the same position. A step that ended early says nothing
// about older decisions, so that the merged one ends no later than any of them.
func merge(all []step, pos position, n int) step {
	out := step{end: pos}
	for _, st := range all {
		if st.more && (!out.more || st.end.before(out.end)) {
			out.more, out.end = true, st.end
		}
	}

	for _, st := range all {
		for _, h := range st.heads {
			if !out.more || !out.end.before(h.position()) {
				out.heads = append(out.heads, h)
			}
		}
	}
	slices.SortFunc(out.heads, func(a, b head) int {
		switch {
		case a.position() == b.position():
			return 0
		case a.position().before(b.position()):
			return -1
		}
		return 1
	})
	out.heads = slices.CompactFunc(out.heads, func(a, b head) bool { return a.id == b.id })

	if len(out.heads) > n {
		out.heads, out.more = out.heads[:n], true
		out.end = out.heads[n-1].position()
	}
	return out
}

// scan is next for one plan.
func (l *list) scan(ctx context.Context, p *plan, pos position, n int) (step, error) {
	out := step{end: pos, more: true}
	src := p.sources[0]
	seen, most := l.s.newLook(p), maxChunk
	if p.finding.set() {
		most = findingChunk // the rest of a chunk is decoded in vain where a step ends
	}
	chunk, bytes := min(n, most), 0
	for scanned := 0; scanned < maxScanned; {
		found, err := l.s.chunk(ctx, p, src, out.end, chunk, l.evidence)
		if err != nil {
			return step{}, err
		}

		for i, h := range found.heads {
			if !h.matches || !p.keep(h.repository) {
				out.end = h.position()
				continue
			}
			if p.finding.set() {
				if seen.enough() {
					return out, nil // the next step goes on with this decision
				}
				if err := l.s.lookUp(ctx, p, found.heads[i:], seen); err != nil {
					return step{}, err
				}
			}
			out.end = h.position()
			if !p.finding.held(h, seen) {
				continue
			}

			if l.counting {
				h = head{id: h.id, at: h.at}
			}
			out.heads = append(out.heads, h)
			if bytes += len(h.body) + h.evidenceSize; len(out.heads) == n || bytes >= stepBytes {
				return out, nil
			}
		}

		scanned += len(found.heads)
		if !found.more {
			out.more = false
			return out, nil
		}

		// The first source did not give enough. Another one may select less, so that a
		// step along it gets further back in time.
		if scanned == len(found.heads) && len(p.sources) > 1 {
			if src, err = l.s.narrowest(ctx, p, out.end); err != nil {
				return step{}, err
			}
		}
		chunk = min(2*chunk, most)
	}
	return out, nil
}

// statement is a text of SQL with its arguments.
type statement struct {
	text      strings.Builder
	args      []any
	anonymous bool // parameters have no numbers
	postgres  bool
}

// statement is an empty one.
func (s *Store) statement() statement {
	return statement{postgres: s.engine.dialect() == goose.DialectPostgres}
}

// add appends text. Each "?" in it becomes the next parameter.
func (st *statement) add(text string, args ...any) {
	for _, v := range args {
		before, after, _ := strings.Cut(text, "?")
		st.args = append(st.args, v)
		st.text.WriteString(before)
		if st.anonymous {
			st.text.WriteByte('?')
		} else {
			st.text.WriteByte('$')
			st.text.WriteString(strconv.Itoa(len(st.args)))
		}
		text = after
	}
	st.text.WriteString(text)
}

// keys appends a query for the keys of a source after pos, newest first. A decision that
// several indexes of the source have comes once for each, one directly after the other.
//
// Both databases merge what the indexes have in their order, and stop at the limit: the
// time does not grow with what the indexes have behind it. PostgreSQL does so where each
// part of the union has that order itself, and SQLite only where none has one. A UNION
// that drops repeats would read and sort all parts in either.
func (st *statement) keys(src source, pos position, limit, offset int) {
	const order = " ORDER BY at DESC, id DESC"
	for i, p := range src {
		if i > 0 {
			st.add(" UNION ALL ")
		}
		ordered := st.postgres && len(src) > 1
		if ordered {
			st.add("(")
		}
		st.indexKeys(p, pos)
		if ordered {
			st.add(order+" LIMIT ?)", limit+offset)
		}
	}

	st.add(order+" LIMIT ? OFFSET ?", limit, offset)
}

// indexKeys appends the query of one index, without an order.
func (st *statement) indexKeys(p keys, pos position) {
	// Only constants of this package are put into the text; values are arguments.
	st.add("SELECT "+p.at+" AS at, "+p.id+" AS id FROM "+p.from+" WHERE "+p.where.String(), p.where.args...)

	// Time and id together are unique, and a finished row never changes: a page
	// neither repeats nor skips a row, whatever is recorded meanwhile.
	if pos != (position{}) {
		st.add(" AND ("+p.at+", "+p.id+") < (?, ?)", pos.at, pos.id)
	}
}

// rows appends a query for the next n keys of a source, with the rows for which p's conditions hold.
//
// Each key's row is looked up by its id, and only then compared. SQLite does so by itself. PostgreSQL may join all
// decisions with all that have a term instead, where it takes both for few: OFFSET 0 keeps the look-up by itself.
func (st *statement) rows(p *plan, src source, pos position, n int) {
	st.add("WITH k AS MATERIALIZED (") //nolint:misspell // SQL
	st.keys(src, pos, n, 0)
	st.add(") SELECT k.at, k.id, d.repository, d.body, d.evidence, d.packed FROM k LEFT JOIN ")
	if st.postgres {
		st.add("LATERAL (SELECT d.repository, d.body, d.evidence, d.packed FROM decisions d WHERE d.id = k.id AND "+
			p.rows.String()+" OFFSET 0) d ON TRUE", p.rows.args...)
	} else {
		st.add("decisions d ON d.id = k.id AND "+p.rows.String(), p.rows.args...)
	}
	st.add(" ORDER BY k.at DESC, k.id DESC")
}

// chunk reads the next n keys of a source, with the rows for which p's conditions
// hold, and with their evidence if that is asked for. It stops early once it has read stepBytes.
func (s *Store) chunk(ctx context.Context, p *plan, src source, pos position, n int, evidence bool) (step, error) {
	st := s.statement()
	st.rows(p, src, pos, n)
	rows, err := s.from(ctx).QueryContext(ctx, st.text.String(), st.args...)
	if err != nil {
		return step{}, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	out := step{end: pos}
	keys := 0
	for bytes := 0; rows.Next(); {
		keys++
		var h head
		var repository sql.NullString
		var t texts
		if err := rows.Scan(&h.at, &h.id, &repository, &t.first, &t.second, &t.packed); err != nil {
			return step{}, err
		}
		if keys > 1 && h.position() == out.end {
			continue // another index of the source has it too
		}

		// Most rows of a pattern's walk are of other repositories, and are not decompressed.
		if h.repository = repository.String; t.first.Valid && p.keep(h.repository) {
			if err := s.openHead(&h, t, evidence, p.finding.set()); err != nil {
				return step{}, err
			}
		} else {
			bytes += len(t.first.String) + len(t.second.String) + len(t.packed)
		}

		out.heads, out.end = append(out.heads, h), h.position()
		if bytes += len(h.body) + h.evidenceSize; bytes >= stepBytes {
			out.more = true
			return out, rows.Err()
		}
	}
	out.more = keys == n
	return out, rows.Err()
}

// openHead decodes what a row says: all of its evidence, or what a search for findings needs of it.
func (s *Store) openHead(h *head, t texts, evidence, findings bool) (err error) {
	var stored string
	h.body, stored = s.unpack(t)
	h.matches, h.evidenceSize = !oldRevocation(h.body), len(stored)
	switch {
	case stored == "":
		return nil
	case evidence:
		var all outline
		if err = json.Unmarshal([]byte(stored), &all); err == nil {
			h.evidence = all
		}
	case findings:
		var parts struct {
			Parts []part `json:"parts"`
		}
		err = json.Unmarshal([]byte(stored), &parts)
		h.evidence.Parts = parts.Parts
	}
	if err != nil {
		err = fmt.Errorf("decoding evidence of %s: %w", h.id, err)
	}

	// It was changed, which its entry in the log shows, and must not hide all others. A search for findings cannot leave
	// it out without a word.
	if !findings {
		h.damaged, err = err, nil
	}
	return err
}

// fewKeys is how many keys of a source are so few that no other one needs to be looked for.
const fewKeys = 100

// narrowest returns the source of p along which a step after pos gets furthest.
func (s *Store) narrowest(ctx context.Context, p *plan, pos position) (source, error) {
	best := p.sources[0]

	// Of sources that a step reaches the end of, one may have thousands of keys and another none.
	for _, ahead := range []int{fewKeys, maxScanned} {
		furthest := position{}
		for i, src := range p.sources {
			st := s.statement()
			st.keys(src, pos, 1, ahead)

			var end position
			err := s.from(ctx).QueryRowContext(ctx, st.text.String(), st.args...).Scan(&end.at, &end.id)
			switch {
			case errors.Is(err, sql.ErrNoRows):
				return src, nil // a step reaches the end of the list
			case err != nil:
				return nil, err
			case i == 0 || furthest.before(end):
				best, furthest = src, end
			}
		}
	}
	return best, nil
}

// strings runs a query for one column.
func (s *Store) strings(ctx context.Context, query string, args ...any) ([]string, error) {
	var st statement
	st.add(query, args...)
	rows, err := s.from(ctx).QueryContext(ctx, st.text.String(), st.args...)
	if err != nil {
		return nil, err
	}
	defer func() { _ = rows.Close() }() // rows.Err has the error

	var out []string
	for rows.Next() {
		var v string
		if err := rows.Scan(&v); err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	return out, rows.Err()
}
