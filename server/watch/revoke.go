package watch

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"

	"github.com/attestor-gate/attestor"
)

// findings are the codes of refused vulnerabilities. A grace that expired, or a
// severity that changed, has them too. The finding itself must therefore be new.
func findings() []attestor.Code {
	return []attestor.Code{
		attestor.CodeFixableSeverityExceeded, attestor.CodeUnfixableSeverityExceeded, attestor.CodeUnspecifiedSeverity,
		attestor.CodeMaliciousPackage, attestor.CodeCVEBlocked, attestor.CodeKnownExploited, attestor.CodeEPSSExceeded,
		attestor.CodeUnknownFinding,
	}
}

func secrets() []attestor.Code {
	return []attestor.Code{attestor.CodeSecretFound, attestor.CodeSecretUnknown}
}

// noSecrets among the known findings says that secrets were not asked for. No finding has this name.
const noSecrets = ""

// A baseline is the admission that later judgements are compared with. Its evidence
// is read once, when it is needed.
type baseline struct {
	was   attestor.Decision
	known func() (findings map[string]bool, err error) // nil findings: there is no evidence to compare with
}

func (w *Watcher) baseline(ctx context.Context, admission string) (baseline, error) {
	was, err := w.c.History.Decision(ctx, admission)
	if err != nil {
		return baseline{}, fmt.Errorf("reading admission %s: %w", admission, err)
	}

	return baseline{was: was, known: sync.OnceValues(func() (map[string]bool, error) {
		record, err := w.c.History.Record(ctx, admission)
		if err != nil {
			return nil, fmt.Errorf("reading the record of admission %s: %w", admission, err)
		}

		// Without evidence no finding can be shown to be new, and none is.
		if len(record.Evidence.Platforms) == 0 {
			return nil, nil
		}

		return knownIn(&record.Evidence), nil
	})}, nil
}

// knownIn names the findings and secrets of any platform of the evidence. A secret that was revoked then and is valid
// now is a new one.
func knownIn(ev *attestor.Evidence) map[string]bool {
	known := map[string]bool{}
	for _, p := range ev.Platforms {
		for _, v := range p.Scan.Findings {
			known[v.ID] = true
		}
		for i := range p.Scan.Secrets {
			if s := &p.Scan.Secrets[i]; s.Status != attestor.SecretInvalid {
				known[s.Subject()] = true
			}
		}

		// A version that did not ask for secrets knew of none: none can be shown to be new.
		known[noSecrets] = known[noSecrets] || !p.Scan.SecretsListed
	}
	return known
}

// cause compares a refusal with the admission of the same image. Every case that
// is not clear has another cause than a new finding, since that one revokes.
func (b baseline) cause(now attestor.Decision) (attestor.Cause, error) {
	// An outage beside a denial may be why it is denied.
	if now.Verdict == attestor.Undecided || unanswered(now) {
		return attestor.CauseOutage, nil
	}

	// A stricter policy denies without anything new about the image. Whether to
	// revoke then is for whoever changed the policy to say.
	was := b.was.Policy
	if was == nil || now.Policy == nil || was.Digest != now.Policy.Digest || was.Name != now.Policy.Name {
		return attestor.CausePolicy, nil
	}

	// Only a finding that decides the denial counts, by an id that was not among the
	// findings of any platform.
	known, err := b.known()
	if err != nil {
		return "", err
	}
	for _, c := range now.Checks {
		if known == nil || c.Status != attestor.StatusDeny {
			continue
		}
		for _, r := range c.DecidingReasons() {
			counts := slices.Contains(findings(), r.Code) || slices.Contains(secrets(), r.Code) && !known[noSecrets]
			if counts && r.Subject != "" && !known[r.Subject] {
				return attestor.CauseFinding, nil
			}
		}
	}
	return attestor.CauseTime, nil
}

// unanswered reports whether a check had no answer, even beside a denial.
func unanswered(d attestor.Decision) bool {
	return slices.ContainsFunc(d.Checks, func(c attestor.Check) bool {
		return c.Status.Refuses() && c.Status != attestor.StatusDeny
	})
}

// revoke deletes the attestations of an image that a new finding denies, after the
// grace and below the cap. No other cause revokes; see the package comment.
func (w *Watcher) revoke(
	ctx context.Context, r Request, run attestor.Run, was attestor.Admission, flip *Reversal,
) error {
	// An override stands in spite of findings, until its own end.
	if !w.c.Enforce || was.BreakGlass || flip.Cause != attestor.CauseFinding || flip.Verdict != attestor.Deny ||
		!flip.attested || w.c.Now().Sub(flip.Since) < w.c.Grace {
		return nil
	}

	// A feed that suddenly finds something in every image would stop all deployments.
	// The run stops instead, and an operator looks. It is counted before it is tried: a
	// revocation that fails may have deleted some attestations.
	may, stopped, err := w.c.Admissions.MayRevoke(ctx, run, w.c.Cap)
	if stopped {
		w.metrics.stopped.Inc()
		w.c.Logger.LogAttrs(ctx, slog.LevelError,
			"revocation stopped: the run reached rejudge.cap; check the flips in its report before the next run",
			slog.Int("limit", w.c.Cap))
	}
	if err != nil || !may {
		return err
	}

	var found []string
	for _, reason := range flip.Reasons {
		if slices.Contains(slices.Concat(findings(), secrets()), reason.Code) && len(found) < 5 {
			found = append(found, reason.Subject)
		}
	}
	_, err = w.c.Revoke(ctx, attestor.Revocation{
		Image: was.Image, Kind: attestor.RevokedByJudgment, Caller: r.callerRef(), RequestID: r.RequestID,
		Admission: was.Decision, Judgment: flip.Decision, Cause: flip.Cause,
		Reason: "found after its admission: " + strings.Join(found, ", "),
	})

	// Another decision has admitted the image since it was judged here.
	if attestor.KindOf(err) == attestor.NotFound {
		return nil
	}
	if err != nil {
		return err
	}

	flip.Revoked = true
	w.metrics.revoked.Inc()
	w.c.Logger.LogAttrs(ctx, slog.LevelWarn, "revoked because of a new finding",
		slog.String("decision_id", flip.Decision), slog.String("image_digest", string(was.Image.Digest())))
	return nil
}
