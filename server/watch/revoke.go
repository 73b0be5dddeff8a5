package watch

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/attestor-gate/attestor"
)

// A Cause says why an admitted image would not be admitted now.
type Cause string

// The causes. Only a new finding ever leads to a revocation.
const (
	CauseFinding Cause = "new-finding" // a vulnerability that was not known when it was admitted
	CausePolicy  Cause = "policy"      // the policy is another
	CauseOutage  Cause = "error"       // it could not be found out
	CauseTime    Cause = "other"       // a base, a scan, an exception or a grace that grew old; anything else
)

// findings are the codes by which a policy refuses a vulnerability. An expired
// grace or a changed severity has them too, which is why the finding itself
// must be new.
func findings() []attestor.Code {
	return []attestor.Code{
		attestor.CodeFixableSeverityExceeded, attestor.CodeUnfixableSeverityExceeded, attestor.CodeUnspecifiedSeverity,
		attestor.CodeMaliciousPackage, attestor.CodeCVEBlocked, attestor.CodeKnownExploited, attestor.CodeEPSSExceeded,
	}
}

// baseline is an admission that later judgements are compared with. Its
// evidence is fetched once, when it is wanted.
type baseline struct {
	was   attestor.Decision
	known func() (findings map[string]bool, err error) // nil: no evidence to compare with
}

func (w *Watcher) baseline(ctx context.Context, was attestor.Decision) baseline {
	return baseline{was: was, known: sync.OnceValues(func() (map[string]bool, error) {
		record, err := w.c.History.Record(ctx, was.ID)
		if err != nil {
			return nil, fmt.Errorf("reading the record of admission %s: %w", was.ID, err)
		}
		if len(record.Evidence.Platforms) == 0 {
			return nil, nil
		}
		known := map[string]bool{}
		for _, p := range record.Evidence.Platforms {
			for _, v := range p.Scan.Findings {
				known[v.ID] = true
			}
		}
		return known, nil
	})}
}

// cause compares a refusal with the admission that it contradicts. What it
// cannot tell is not a new finding.
func (b baseline) cause(now attestor.Decision) (Cause, error) {
	switch {
	case now.Verdict == attestor.Undecided || errs(now):
		return CauseOutage, nil
	case b.was.Policy == nil || now.Policy == nil || b.was.Policy.Digest != now.Policy.Digest || b.was.Policy.Name != now.Policy.Name:
		return CausePolicy, nil
	}
	known, err := b.known()
	if err != nil {
		return "", err
	}
	for _, c := range now.Checks {
		if known == nil || c.Name != attestor.CheckVulnerabilities || c.Status != attestor.StatusDeny {
			continue
		}
		for _, r := range c.DecidingReasons() {
			if slices.Contains(findings(), r.Code) && r.Subject != "" && !known[r.Subject] {
				return CauseFinding, nil
			}
		}
	}
	return CauseTime, nil
}

// errs reports whether anything could not be found out, even beside a denial.
func errs(d attestor.Decision) bool {
	return slices.ContainsFunc(d.Checks, func(c attestor.Check) bool {
		return c.Status.Refuses() && c.Status != attestor.StatusDeny
	})
}

// deniedSince is when an admitted image was first denied by a new finding
// without having passed since. The zero time means that it was not.
func (w *Watcher) deniedSince(ctx context.Context, base baseline) (time.Time, error) {
	was := base.was
	img, err := parse(was)
	if err != nil {
		return time.Time{}, err
	}
	decisions, err := w.c.History.Of(ctx, img, historyDepth)
	if err != nil {
		return time.Time{}, err
	}
	var since time.Time
	for _, d := range decisions { // newest first
		if d.Labels[LabelRejudges] != was.ID || d.Image.Reference != was.Image.Reference {
			continue
		}
		if d.Verdict == attestor.Undecided {
			continue // says nothing either way
		}
		cause := CauseTime
		if verdict(d) == attestor.Deny {
			if cause, err = base.cause(d); err != nil {
				return time.Time{}, err
			}
		}
		if cause != CauseFinding {
			break
		}
		since = d.Time
	}
	return since, nil
}

// revoke deletes the attestations of an image that a new finding denies, once
// its grace is over and while the run may. Nothing else is a reason: no error,
// nothing that grew old, no change of policy.
func (w *Watcher) revoke(ctx context.Context, r Request, was attestor.Decision, flip *Reversal, report *Report) error {
	if !w.c.Enforce || flip.Cause != CauseFinding || flip.Verdict != attestor.Deny || !flip.attested || w.c.Now().Sub(flip.Since) < w.c.Grace {
		return nil
	}
	if r.revoked+report.Revoked >= w.c.Cap {
		if !report.Stopped {
			report.Stopped = true
			w.metrics.stopped.Inc()
			w.c.Logger.ErrorContext(ctx, "revocation stopped: more images are to be revoked than one run may", slog.Int("limit", w.c.Cap))
		}
		return nil
	}
	img, err := parse(was)
	if err != nil {
		return err
	}
	var found []string
	for _, reason := range flip.Reasons {
		if slices.Contains(findings(), reason.Code) && len(found) < 5 {
			found = append(found, reason.Subject)
		}
	}
	report.Revoked++ // tried counts: what fails half-way has deleted something
	why := fmt.Sprintf("decision %s: found after admission by %s: %s", flip.Decision, was.ID, strings.Join(found, ", "))
	if err := w.c.Revoke(ctx, img, why, attestor.CallerRef{Subject: r.Caller.Subject, Issuer: r.Caller.Issuer}, r.RequestID); err != nil {
		return err
	}
	flip.Revoked = true
	w.metrics.revoked.Inc()
	w.c.Logger.WarnContext(ctx, "revoked by a new finding", slog.String("decision_id", flip.Decision), slog.String("image_digest", string(img.Digest())))
	return nil
}
