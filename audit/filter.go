package audit

import (
	"fmt"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
)

// A Filter chooses among finished decisions. The zero value is all of them.
type Filter struct {
	Image      string           // REPOSITORY@DIGEST, a bare digest (of an index or of one of its children), or REPOSITORY:TAG as it was asked for
	Repository string           // canonical, or a pattern such as us-docker.pkg.dev/acme/prod/**
	Verdict    attestor.Outcome // "": any
	Policy     string           // name, or digest; "": any
	Since      time.Time        // inclusive; zero: the beginning
	Until      time.Time        // exclusive; zero: now
	BreakGlass bool             // only those that were overridden
	// Period is how Since and Until were written where either was reckoned from
	// the clock ("1d"). Pages after the first then keep the first page's Since and
	// Until, and a token is bound to Period in their place. "": both are fixed.
	Period string
	// Visible, where set, hides the decisions on repositories that whoever asks
	// may not see.
	Visible func(repository string) bool
}

// A query is a filter as SQL, newest first.
type query struct {
	from  string // a table whose index gives the order, joined where it is not decisions
	order string // its time and id
	cond  []string
	args  []any
	keep  func(repository string) bool // what SQL cannot say
}

// and adds a condition, each "?" of which stands for the next of args.
func (q *query) and(cond string, args ...any) {
	for _, v := range args {
		q.args = append(q.args, v)
		cond = strings.Replace(cond, "?", fmt.Sprintf("$%d", len(q.args)), 1)
	}
	q.cond = append(q.cond, cond)
}

func (f Filter) query() (*query, error) {
	q := &query{from: "decisions d", order: "d.at, d.id"}
	q.and("d.state = 'finished'")
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
		return nil, &attestor.Error{Kind: attestor.Invalid, Msg: fmt.Sprintf("verdict %q is none", f.Verdict), Fix: "want pass, deny or error"}
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
	prefix, _, _ := strings.Cut(f.Repository, "*")
	q.and("d.repository >= ? AND d.repository < ?", prefix, prefix+"\x7f") // repositories are ASCII below DEL
	visible := q.keep
	q.keep = func(repository string) bool { return p.Match(repository) && visible(repository) }
	return nil
}

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
