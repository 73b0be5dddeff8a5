package admission

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/plain"
)

// A finding is what was decided about one image, or about the object as a whole.
type finding struct {
	digest    attestor.Digest // "" if it is not known
	problem   string          // why it is not admitted; "" admits it
	undecided bool            // the problem is that something could not be found out
	dryRun    bool            // the image's policy refuses nothing
	codes     []attestor.Code // of the problem
	warnings  []string
	override  string // the decision that overrode a denial, or "unknown"
	decision  string // that the gate made and recorded for this review
}

// verdict is in the words of decisions.
func (f *finding) verdict() string {
	switch {
	case f.problem == "":
		return string(attestor.Pass)
	case f.undecided:
		return string(attestor.Undecided)
	}
	return string(attestor.Deny)
}

func refused(problem string, codes ...attestor.Code) finding {
	return finding{problem: problem, codes: codes}
}

// contained turns a panic about one image into its refusal.
func (h *Handler) contained(ctx context.Context, r *request, image string) (f finding) {
	defer func() {
		if p := recover(); p != nil {
			h.c.Logger.ErrorContext(ctx, "panic while admitting", slog.Any("error", p))
			f = refused("internal error of the gate", attestor.CodeEvidenceMissing)
			f.undecided = true
		}
	}()
	return h.image(ctx, r, image)
}

// image decides on one image, and records the decision if that is asked for.
func (h *Handler) image(ctx context.Context, r *request, text string) finding {
	ref, err := attestor.ParseReference(text)
	if err != nil {
		return refused(attestor.Message(err)+whole(text), attestor.CodeNotAttested)
	}
	repository := ref.Repository()
	img, pinned := ref.Pinned()
	if slices.ContainsFunc(h.c.Exempt, func(p attestor.Pattern) bool { return p.Match(repository) }) {
		return finding{
			digest:   img.Digest(),
			warnings: []string{repository + " is exempt and was admitted without a check"},
		}
	}

	policy, governed := h.c.Policies.Govern(repository)
	f := h.decide(ctx, ref, img, pinned, policy, governed)
	f.digest = img.Digest()

	// A policy in dry run refuses nothing. A tag is refused all the same: what it will name is not the policy's image.
	f.dryRun = governed && pinned && policy.Ref().Mode == attestor.DryRun
	return h.recorded(ctx, r, ref, img, policy, governed, f)
}

// decide decides on an image that is not exempt.
func (h *Handler) decide(
	ctx context.Context, ref attestor.Reference, img attestor.Image, pinned bool, policy attestor.Policy, governed bool,
) finding {
	// A tag may be moved between this answer and the pull, so that an attested image
	// could be replaced by another.
	if !pinned {
		return refused(fmt.Sprintf("%s is by tag, which may move: deploy it by digest", ref), attestor.CodeNotAttested)
	}

	// No policy is a refusal: nobody has said what such an image must be.
	if !governed {
		return refused("no policy governs "+ref.Repository(), attestor.CodeNoPolicy)
	}

	needs := policy.Needs().Attest
	by, missing, err := h.missing(ctx, img, needs)
	switch {
	case err == nil && missing == "":
		return h.overridden(ctx, img, by)

	// A failed look-up is no attestation; in a mode that judges, the policy decides instead.
	case h.c.Mode.judges():
		return h.judge(ctx, ref)
	case err != nil:
		f := refused(err.Error(), attestor.CodeAttestorUnavailable)
		f.undecided = true
		return f
	}
	return refused(
		fmt.Sprintf(
			"%s has no valid attestation by %s: run attestor attest %s",
			img,
			missing,
			img,
		),
		attestor.CodeNotAttested,
	)
}

// A ground is by whose attestations an image is admitted.
type ground int

const (
	byPass     ground = iota // those of a pass; an override may have the same
	byOverride               // those of an override alone
)

// missing names the attestors that have not attested to an image; "" admits it.
// An image that was admitted by break-glass carries the attestations of other
// attestors, where its policy names such.
func (h *Handler) missing(
	ctx context.Context, img attestor.Image, needs attestor.AttestNeeds,
) (by ground, names string, err error) {
	standing, err := h.c.Attestations.Standing(ctx, img)
	if err != nil || !standing.Known {
		return 0, "", fmt.Errorf("the attestations of %s could not be looked up", img)
	}
	if len(needs.Attestors) == 0 {
		return 0, "any attestor, since its policy names none", nil
	}

	images := []attestor.Image{img}

	// All attestors of a pass, or all of an override: some of each are neither.
	missing, err := standing.Missing(needs.For(false), images)
	if err != nil {
		return 0, "", fmt.Errorf("the attestations of %s: %w", img, err)
	}

	overridden, err := standing.Missing(needs.For(true), images)
	if err != nil {
		return 0, "", fmt.Errorf("the attestations of %s: %w", img, err)
	}
	switch {
	case len(missing) == 0:
		return byPass, "", nil
	case len(overridden) == 0:
		return byOverride, "", nil
	}
	return 0, strings.Join(missing, ", "), nil
}

// overridden admits an attested image, and warns if an override is what admits it. The attestation is valid until it is
// revoked, so that even an overdue one admits, here as in every deploy policy.
func (h *Handler) overridden(ctx context.Context, img attestor.Image, by ground) finding {
	var f finding
	var open []attestor.Override
	if h.c.Overrides != nil {
		var err error
		if open, err = h.c.Overrides(ctx, img); err != nil {
			f.warnings = append(
				f.warnings,
				fmt.Sprintf("%s is attested; whether by an override could not be looked up", img),
			)
		}
	}

	for _, o := range open {
		f.override = o.Decision
		// Who and until when come first: the API server cuts long warnings at their end.
		f.warnings = append(f.warnings, fmt.Sprintf(
			"overridden by %s, %s (decision %s): %s was refused",
			plain.Clip(o.By, maxNamespace),
			o.Standing(h.c.Now()).Until(),
			o.Decision,
			img,
		))
	}
	if by == byOverride && len(open) == 0 {
		f.override = "unknown"
		f.warnings = append(
			f.warnings,
			fmt.Sprintf("overridden: %s is attested by the attestors of overrides only", img),
		)
	}
	return f
}

// judge asks the Gate, in dry run: a cluster's question must not make it sign
// anything.
func (h *Handler) judge(ctx context.Context, ref attestor.Reference) finding {
	undecided := func(problem string) finding {
		f := refused(problem, attestor.CodeEvidenceMissing)
		f.undecided = true
		return f
	}
	pattern, err := attestor.ParsePattern(ref.Repository())
	if err != nil {
		return undecided(attestor.Message(err))
	}

	// The caller may do no more than this one question takes.
	d, err := h.c.Judge(ctx, attestor.Request{Image: ref, DryRun: true, Caller: attestor.Caller{
		Subject: "admission", Issuer: "kubernetes",
		Grants: []attestor.Grant{
			{Actions: []attestor.Action{attestor.ActionCheck}, Images: []attestor.Pattern{pattern}},
		},
	}})
	if err != nil {
		return undecided(fmt.Sprintf("%s: %s", ref, attestor.Message(err)))
	}

	f := finding{decision: d.ID, undecided: d.Verdict == attestor.Undecided}
	for _, r := range d.Upcoming() {
		f.warnings = append(f.warnings, fmt.Sprintf("%s is refused from %s on: %s", ref, r.EffectiveFrom, r.Code))
	}
	if d.Verdict == attestor.Pass {
		return f
	}

	var why []string
	for _, r := range d.Refusals() {
		if !slices.Contains(f.codes, r.Code) {
			f.codes = append(f.codes, r.Code)
		}
		if len(why) < 5 {
			why = append(why, string(r.Code)+" "+r.Message)
		}
	}
	f.problem = fmt.Sprintf("%s was refused by decision %s: %s", ref, d.ID, strings.Join(why, ", "))
	return f
}

// recorded records what was decided about an image, if that is asked for and the gate has not done so by itself.
func (h *Handler) recorded(
	ctx context.Context,
	r *request,
	ref attestor.Reference,
	img attestor.Image,
	policy attestor.Policy,
	governed bool,
	f finding,
) finding {
	// "If dryRun is true, side effects must not occur": a record is one.
	if h.c.Record == nil || r.DryRun || f.decision != "" {
		return f
	}

	// A cluster's question signs nothing and admits nothing in the record's sense: it is a dry run.
	d := attestor.Decision{
		Image:   attestor.DecidedImage{Requested: ref.Requested(), Reference: ref.String(), Digest: img.Digest()},
		Verdict: attestor.Outcome(f.verdict()), DryRun: true,
		Platforms: []attestor.PlatformSummary{}, Attestations: []attestor.Attestation{},
		Caller: attestor.CallerRef{Subject: "admission", Issuer: "kubernetes"},
		Labels: map[string]string{"kubernetes.namespace": plain.Clip(r.Namespace, maxNamespace)},
	}
	check := attestor.Check{Name: attestor.CheckAttest, Status: attestor.StatusPass, Reasons: []attestor.Reason{}}
	switch {
	case f.undecided:
		check.Status = attestor.StatusError
	case f.problem != "":
		check.Status = attestor.StatusDeny
	}
	if f.problem != "" {
		check.Reasons = append(
			check.Reasons,
			attestor.Reason{Code: f.codes[0], Severity: attestor.Refuses, Message: f.problem},
		)
	}
	d.Checks = []attestor.Check{check}

	record := attestor.Record{Decision: d}
	if governed {
		ref := policy.Ref()
		record.Decision.Policy, record.PolicyText = &ref, policy.Text()
	}
	if err := h.c.Record(ctx, record); err != nil {
		h.c.Logger.ErrorContext(ctx, "an admission could not be recorded", slog.String("error", err.Error()))
		if f.problem == "" {
			f.problem = fmt.Sprintf("the decision about %s could not be recorded, and so admits nothing", ref)
			f.codes, f.undecided = []attestor.Code{attestor.CodeEvidenceMissing}, true
		}
	}
	return f
}

// maxNamespace is that of Kubernetes, and enough of a caller's name for a warning.
const maxNamespace = 63
