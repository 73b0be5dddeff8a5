package audit

import (
	"fmt"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
)

// A Filter selects finished decisions. The zero value selects all of them.
type Filter struct {
	// Image is REPOSITORY@DIGEST, a digest (of an index, or of a platform's manifest
	// in one), or REPOSITORY:TAG as the request had it. "": any.
	Image      string
	Repository string           // canonical, or a pattern such as us-docker.pkg.dev/acme/prod/**
	Verdict    attestor.Outcome // "": any
	Policy     string           // name, or digest; "": any
	Since      time.Time        // inclusive; zero: no limit
	Until      time.Time        // exclusive; zero: no limit
	BreakGlass bool             // only overridden decisions
	// Period is the text of Since and Until where either is relative to the clock
	// ("1d"). Pages after the first then keep the first page's Since and Until, and
	// a token is bound to Period in their place. "": both are fixed.
	Period string
	// Visible, where set, hides the decisions on repositories that the caller may
	// not see.
	Visible func(repository string) bool
}

// A query is a filter as SQL, newest first.
type query struct {
	from  string // the table whose index gives the order, joined with decisions where it is another
	order string // its columns of time and id
	cond  []string
	args  []any
	keep  func(repository string) bool // the conditions that SQL cannot express
}

// and adds a condition. Each "?" in it stands for the next of args, which are
// never put into the text of the statement.
func (q *query) and(cond string, args ...any) {
	for _, v := range args {
		q.args = append(q.args, v)
		cond = strings.Replace(cond, "?", fmt.Sprintf("$%d", len(q.args)), 1)
	}
	q.cond = append(q.cond, cond)
}

func (f Filter) query() (*query, error) {
	q := &query{from: "decisions d", order: "d.at, d.id"}
	q.and("d.state = 'finished' AND NOT d.moved")
	if err := f.image(q); err != nil {
		return nil, err
	}
	if err := f.repository(q); err != nil {
		return nil, err
	}

	switch f.Verdict {
	case "":
	case attestor.Pass, attestor.Deny, attestor.Undecided:
		q.and("d.verdict = ?", string(f.Verdict))
	default:
		return nil, &attestor.Error{
			Kind: attestor.Invalid,
			Msg:  fmt.Sprintf("%q is not a verdict", f.Verdict),
			Fix:  "use pass, deny or error",
		}
	}

	if strings.HasPrefix(f.Policy, "sha256:") {
		q.and("d.policy_digest = ?", f.Policy)
	} else if f.Policy != "" {
		q.and("d.policy = ?", text(f.Policy))
	}

	if !f.Since.IsZero() {
		q.and("d.at >= ?", f.Since.UnixMicro())
	}
	if !f.Until.IsZero() {
		q.and("d.at < ?", f.Until.UnixMicro())
	}

	if f.BreakGlass {
		q.and("d.break_glass")
	}
	return q, nil
}

// repository adds the conditions on the repository: the caller's and the
// filter's, both of which must hold.
func (f Filter) repository(q *query) error {
	q.keep = func(repository string) bool { return f.Visible == nil || f.Visible(repository) }

	if !strings.Contains(f.Repository, "*") {
		if f.Repository != "" {
			q.and("d.repository = ?", text(f.Repository))
		}
		return nil
	}

	p, err := attestor.ParsePattern(f.Repository)
	if err != nil {
		return err
	}

	// SQL narrows by the part before the first "*", by the index: repositories are
	// ASCII below DEL. The pattern itself decides, on the rows that remain.
	prefix, _, _ := strings.Cut(f.Repository, "*")
	q.and("d.repository >= ? AND d.repository < ?", prefix, prefix+"\x7f")
	visible := q.keep
	q.keep = func(repository string) bool { return p.Match(repository) && visible(repository) }
	return nil
}

// image adds the condition on the image.
func (f Filter) image(q *query) error {
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
			q.and("d.requested = ?", f.Image)
			return nil
		}
		q.and("d.repository = ?", img.Repository())
		digest = img.Digest()
	}
	if err != nil {
		return err
	}

	q.from, q.order = "decision_digests m JOIN decisions d ON d.id = m.decision", "m.at, m.decision"
	q.and("m.digest = ?", string(digest))
	return nil
}
