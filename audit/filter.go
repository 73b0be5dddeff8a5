package audit

import (
	"context"
	"fmt"
	"strings"

	"github.com/pressly/goose/v3"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/filter"
)

// A Filter selects finished decisions. The zero value selects all of them.
type Filter = filter.Filter

// A plan is a filter as SQL. Its list is walked from the newest decision to older
// ones, along the keys of one source. What a source selects is only a superset: rows
// has every condition, so that the choice of a source changes the time that an
// answer takes and never the answer.
type plan struct {
	sources []source // at least one; those that select least come first
	rows    clause   // conditions on a row d
	keep    func(repository string) bool
	finding finding // what the evidence must have; the zero value: nothing
}

// A source selects keys (at, id) of decisions, by an index in whose order they come.
// Where it has several, they are merged.
type source []keys

// Keys are of one index, narrowed to one value.
type keys struct {
	from, at, id string // table and columns
	where        clause
}

// A clause has conditions that all must hold. Each "?" stands for the next of args,
// which are never put into the text of a statement.
type clause struct {
	conds []string
	args  []any
}

func (c *clause) and(cond string, args ...any) {
	c.conds = append(c.conds, cond)
	c.args = append(c.args, args...)
}

// String is for a WHERE or an ON.
func (c *clause) String() string {
	if len(c.conds) == 0 {
		return "TRUE"
	}
	return strings.Join(c.conds, " AND ")
}

// decisionsBy are keys of an index of decisions.
func decisionsBy(cond string, args ...any) keys {
	p := keys{from: "decisions", at: "at", id: "id"}
	p.where.and(cond, args...)
	return p
}

// termsBy are the keys of the decisions that have a term.
func termsBy(term string) keys {
	p := keys{from: "decision_terms", at: "at", id: "decision"}
	p.where.and("term = ?", term)
	return p
}

// maxMerged is how many indexes a source may merge.
const maxMerged = 64

// plan makes the plan of a filter without Search. A value that cannot be one is an
// [attestor.Error] of kind Invalid.
func (s *Store) plan(ctx context.Context, f Filter) (*plan, error) {
	p := &plan{keep: func(repository string) bool { return f.Visible == nil || f.Visible(repository) }}
	p.rows.and("d.state = 'finished' AND NOT d.moved")
	for _, step := range []func(context.Context, Filter, *plan) error{
		s.byID, s.byRevocation, s.byImage, s.byDigest, s.byRepository, s.byFinding, s.byTerm, s.byColumn,
	} {
		if err := step(ctx, f, p); err != nil {
			return nil, err
		}
	}

	if len(p.sources) == 0 {
		p.sources = []source{{decisionsBy("TRUE")}}
	}

	// Every index is narrowed by time, since its index is in that order.
	for _, src := range p.sources {
		for i := range src {
			if !f.Since.IsZero() {
				src[i].where.and(src[i].at+" >= ?", f.Since.UnixMicro())
			}
			if !f.Until.IsZero() {
				src[i].where.and(src[i].at+" < ?", f.Until.UnixMicro())
			}
		}
	}
	return p, nil
}

// byRevocation adds the condition that what a decision admitted was revoked.
func (s *Store) byRevocation(_ context.Context, f Filter, p *plan) error {
	if !f.Revoked && f.Revocation == "" {
		return nil
	}

	// Revocations are few: they are sorted, and not walked along an index.
	const finished = `SELECT m.decision FROM revocation_decisions m JOIN revocations r ON r.id = m.revocation
		WHERE r.state = 'finished'`
	cond, args := " IN ("+finished+")", []any(nil)
	if f.Revocation != "" {
		cond, args = " IN ("+finished+" AND r.id = ?)", []any{text(f.Revocation)}
	}
	p.rows.and("d.id"+cond, args...)
	p.sources = append(p.sources, source{decisionsBy("id"+cond, args...)})
	return nil
}

func (s *Store) byID(_ context.Context, f Filter, p *plan) error {
	for _, id := range []string{f.ID, f.Override} { // an override has the id of its decision
		if id != "" {
			p.rows.and("d.id = ?", text(id))
			p.sources = append(p.sources, source{decisionsBy("id = ?", text(id))})
		}
	}
	return nil
}

// byImage adds the condition on the image.
func (s *Store) byImage(_ context.Context, f Filter, p *plan) error {
	if f.Image == "" {
		return nil
	}

	digest, err := attestor.ParseDigest(f.Image)
	if !strings.HasPrefix(f.Image, "sha256:") {
		var ref attestor.Reference
		if ref, err = attestor.ParseReference(f.Image); err != nil {
			return err
		}

		// A tag selects the requests that named it: which digest it has now says
		// nothing about the decisions of then.
		img, ok := ref.Pinned()
		if !ok {
			p.rows.and("d.requested = ?", f.Image)
			p.sources = append(p.sources, source{decisionsBy("requested = ?", f.Image)})
			return nil
		}
		p.rows.and("d.repository = ?", img.Repository())
		digest = img.Digest()
	}
	if err != nil {
		return err
	}
	p.digests(string(digest))
	return nil
}

// digests adds the condition that a decision is about one of some digests.
func (p *plan) digests(digests ...string) {
	var src source
	marks, args := make([]string, 0, len(digests)), make([]any, 0, len(digests))
	for _, d := range digests {
		by := keys{from: "decision_digests", at: "at", id: "decision"}
		by.where.and("digest = ?", d)
		src = append(src, by)
		marks, args = append(marks, "?"), append(args, d)
	}

	// No digest at all: nothing is selected, and nothing is walked.
	if len(digests) == 0 {
		p.nothing()
		return
	}
	p.rows.and(`EXISTS (SELECT 1 FROM decision_digests m WHERE m.decision = d.id AND m.digest IN (`+
		strings.Join(marks, ", ")+`))`, args...)
	p.sources = append(p.sources, src)
}

// nothing makes the plan select nothing.
func (p *plan) nothing() {
	p.rows.and("FALSE")
	p.sources = append([]source{{decisionsBy("id = ''")}}, p.sources...)
}

// digestLength is that of a whole digest.
const digestLength = len("sha256:") + 64

// byDigest resolves the beginning of a digest to the digests that have it.
func (s *Store) byDigest(ctx context.Context, f Filter, p *plan) error {
	switch {
	case f.Digest == "":
		return nil
	case len(f.Digest) == digestLength:
		p.digests(f.Digest)
		return nil
	}

	// One after the other: one image may have millions of decisions, of which one is read.
	var found []string
	for from := f.Digest; len(found) <= maxMerged; {
		next, err := s.strings(ctx, `SELECT digest FROM decision_digests WHERE digest > ? AND digest < ?
			ORDER BY digest LIMIT 1`, from, f.Digest+"g")
		if err != nil {
			return err
		}
		if len(next) == 0 {
			break
		}
		found, from = append(found, next[0]), next[0]
	}
	if len(found) > maxMerged {
		return &attestor.Error{
			Kind: attestor.Invalid,
			Msg:  fmt.Sprintf("digest: more than %d images begin with %s", maxMerged, f.Digest),
			Fix:  "send more digits of the digest",
		}
	}
	p.digests(found...)
	return nil
}

// byRepository adds the condition on the repository: a name, a pattern, or the end
// of a name.
func (s *Store) byRepository(ctx context.Context, f Filter, p *plan) error {
	if f.Repository == "" {
		return nil
	}
	if f.Full() {
		p.rows.and("d.repository = ?", text(f.Repository))
		p.sources = append(p.sources, source{decisionsBy("repository = ?", text(f.Repository))})
		return nil
	}

	// The names that the index knows are narrowed here. Its choice is not relied on:
	// keep holds each row to the same condition.
	matches, candidates, err := s.repositories(ctx, f)
	if err != nil {
		return err
	}
	visible := p.keep
	p.keep = func(repository string) bool { return matches(repository) && visible(repository) }
	p.among(candidates, matches)
	return nil
}

// among adds a source of the repositories that match, if they are few enough to be
// merged.
func (p *plan) among(repositories []string, matches func(string) bool) {
	var src source
	for _, r := range repositories {
		if !matches(r) {
			continue
		}
		if src = append(src, decisionsBy("repository = ?", r)); len(src) > maxMerged {
			return
		}
	}

	if len(src) == 0 {
		p.nothing()
		return
	}
	p.sources = append(p.sources, src)
}

// repositories returns a filter's condition on repositories, and the recorded names
// among which are all that meet it.
func (s *Store) repositories(ctx context.Context, f Filter) (func(string) bool, []string, error) {
	if f.Pattern() {
		pattern, err := attestor.ParsePattern(f.Repository)
		if err != nil {
			return nil, nil, err
		}

		// The part before the first "*" narrows: repositories are ASCII below DEL.
		prefix, _, _ := strings.Cut(f.Repository, "*")
		column := s.bytewise("repository")
		names, err := s.strings(ctx, `SELECT repository FROM repositories WHERE `+column+` >= ? AND `+column+` < ?`,
			prefix, prefix+"\x7f")
		return pattern.Match, names, err
	}

	end := text(f.Repository)
	names, err := s.strings(ctx, `SELECT repository FROM repositories WHERE name = ?`, lastSegment(end))
	return func(repository string) bool { return filter.AtEnd(repository, end) }, names, err
}

// bytewise is a column that is compared by the bytes of its text. PostgreSQL compares by the rules of a language unless
// it is told not to, "en_US.UTF8" on Cloud SQL, and by these nothing lies between a text and the same with DEL after it.
func (s *Store) bytewise(column string) string {
	if s.engine.dialect() == goose.DialectPostgres {
		return column + ` COLLATE "C"`
	}
	return column
}

// lastSegment is the part of a repository after the last "/".
func lastSegment(repository string) string {
	return repository[strings.LastIndexByte(repository, '/')+1:]
}

// byFinding adds the conditions on findings. The index knows in which repositories a
// finding was; the evidence of each decision decides.
func (s *Store) byFinding(ctx context.Context, f Filter, p *plan) error {
	p.finding = finding{cve: f.CVE, pkg: f.Package}
	for _, term := range p.finding.terms() {
		if err := s.byPlace(ctx, p, term); err != nil {
			return err
		}
	}
	return nil
}

// byTerm adds the conditions on what decision_terms indexes.
func (s *Store) byTerm(_ context.Context, f Filter, p *plan) error {
	var terms []string
	if f.Tag != "" {
		terms = append(terms, tagTerm(f.Tag))
	}
	if f.Reason != "" {
		terms = append(terms, reasonTerm(f.Reason))
	}
	if f.Caller != "" {
		terms = append(terms, callerTerm(f.Caller))
	}

	for _, term := range terms {
		p.rows.and("EXISTS (SELECT 1 FROM decision_terms t WHERE t.term = ? AND t.at = d.at AND t.decision = d.id)",
			term)
		p.sources = append(p.sources, source{termsBy(term)})
	}
	return nil
}

// byColumn adds the conditions on columns that many decisions share.
func (s *Store) byColumn(_ context.Context, f Filter, p *plan) error {
	if f.BreakGlass || f.Override != "" {
		p.rows.and("d.break_glass")
		p.sources = append(p.sources, source{decisionsBy("break_glass")})
	}

	if strings.HasPrefix(f.Policy, "sha256:") {
		p.rows.and("d.policy_digest = ?", f.Policy)
	} else if f.Policy != "" {
		p.rows.and("d.policy = ?", text(f.Policy))
		p.sources = append(p.sources, source{decisionsBy("policy = ?", text(f.Policy))})
	}

	switch f.Verdict {
	case "":
	case attestor.Pass, attestor.Deny, attestor.Undecided:
		p.rows.and("d.verdict = ?", string(f.Verdict))
		p.sources = append(p.sources, source{decisionsBy("verdict = ?", string(f.Verdict))})
	default:
		return &attestor.Error{
			Kind: attestor.Invalid, Msg: fmt.Sprintf("%q is not a verdict", f.Verdict), Fix: "use pass, deny or error",
		}
	}
	return nil
}

// indexed reports whether a filter asks for something that only the search index
// knows.
func indexed(f Filter) bool {
	return f.Tag != "" || f.Reason != "" || f.Caller != "" || f.Package != "" || f.CVE != "" ||
		f.Repository != "" && !f.Full()
}
