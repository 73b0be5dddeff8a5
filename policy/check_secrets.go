package policy

import (
	"fmt"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
)

func secretsCheck() check {
	return check{
		name: attestor.CheckSecrets,
		asks: func(s *Spec) asking {
			// No report says that an image was searched, so that the check cannot be required: it judges what is
			// reported.
			if s.Secrets.Found == TreatIgnore {
				return notAsked
			}
			return judged
		},
		lacks: func(p *Policy, earlier, next attestor.Needs) lack {
			if !slices.ContainsFunc(p.stages, func(s *Spec) bool { return s.Secrets.Found != TreatIgnore }) {
				return lack{}
			}
			return scannersLack(earlier.Scan, next.Scan)
		},
		validate: func(v *validator, s *Spec) {
			v.notEmpty("spec.secrets.statuses", len(s.Secrets.Statuses))
			if s.Secrets.Found == TreatIgnore && len(s.Secrets.Statuses) > 0 {
				v.at("spec.secrets.statuses", "contradicts found: ignore, with which secrets are not judged")
			}
		},
		lint:    (*linter).secrets,
		demands: func(s *Spec) []string { return s.Secrets.demands() },
		codes: func(s *Spec) (out givenCodes) {
			out.only(s.Secrets.Found != TreatIgnore, attestor.CodeSecretFound)
			out.only(s.Secrets.Found != TreatIgnore && s.strictest() != TreatIgnore, attestor.CodeSecretUnknown)
			return out
		},
		remarks: []attestor.Code{attestor.CodeSecretsNotReported},
		exemplary: func(_ *Spec, ev *attestor.Evidence) {
			ev.Platforms[0].Scan.SecretsListed = true
		},
		subject:    secretKind,
		ofPlatform: (*judgement).secrets,
	}
}

// strictest is the stricter of what the policy does about secrets and about findings that nobody here can read.
func (s *Spec) strictest() Treatment { return stricter(s.Secrets.Found, s.UnknownFindings) }

// secretKind reports whether an exception's subject is a kind of secret, which looks like a reason's code.
func secretKind(subject string) bool { return !slices.Contains(codeNames(), subject) }

// secretKindPrefix begins the names of kinds in the API's own documents.
const secretKindPrefix = "SECRET_KIND_"

// judges reports whether secrets of a status are judged. Where the policy names no statuses, all are that are not known
// to be invalid.
func (s *Secrets) judges(status string) bool {
	if len(s.Statuses) == 0 {
		return status != attestor.SecretInvalid
	}
	return slices.Contains(s.Statuses, SecretStatus(status))
}

// secrets judges the secrets that are reported of a platform. It never says that there are none.
func (j *judgement) secrets(e *attestor.PlatformEvidence) {
	want := &j.spec.Secrets
	if want.Found == TreatIgnore {
		j.skip(attestor.CheckSecrets, e.Platform, "the policy says secrets.found: ignore")
		return
	}

	found := j.problems(attestor.CheckSecrets, j.ev.Problems, e.Problems)
	base := e.Inherited()
	var left []*attestor.Secret
	for i := range e.Scan.Secrets {
		s := &e.Scan.Secrets[i]
		f, ok := j.secret(s, inBase(&base, s))
		if !ok {
			left = append(left, s)
			continue
		}
		found = append(found, f)
	}

	// A scanner that was not asked for secrets reports none.
	if len(e.Scan.Secrets) == 0 && !e.Scan.SecretsListed && len(found) == 0 {
		j.nothing(attestor.CheckSecrets, e.Platform, "the scanner was not asked for secrets")
		return
	}

	if f, ok := notJudged(e, left); ok {
		found = append(found, f)
	}
	j.conclude(attestor.CheckSecrets, e.Platform, found)
}

// secret judges one secret. ok is false for one that the policy does not judge.
func (j *judgement) secret(s *attestor.Secret, fromBase string) (f finding, ok bool) {
	spec := j.spec
	about := fmt.Sprintf("a secret of kind %s lies in %s%s", clip(s.Kind), plainPath(s.Place()), fromBase)
	f = deny(
		attestor.CodeSecretFound,
		s.Subject(),
		about+secretState(s.Status),
		"revoke it where it was issued, take it out of the build, and rebuild the image: "+
			"a file that a later layer removes stays readable",
	)

	// A status of a later version is not known to be invalid, and may be worse than all that the policy names.
	treatment := spec.Secrets.Found
	switch {
	case !s.StatusKnown():
		f.reason.Code = attestor.CodeSecretUnknown
		f.reason.Message = about + ", with the status " + clip(s.Status) + ", which this version does not know"
		if treatment = spec.UnknownFindings; len(spec.Secrets.Statuses) == 0 {
			treatment = spec.strictest()
		}
	case !spec.Secrets.judges(s.Status):
		return finding{}, false
	}

	f.about, f.path = s.Kind, s.Path
	return f.treat(treatment)
}

func secretState(status string) string {
	switch status {
	case attestor.SecretValid:
		return "; it is valid"
	case attestor.SecretInvalid:
		return "; it is known to be invalid"
	}
	return "; whether it is valid is not known"
}

// inBase says that a secret lies in the base's layers, or nothing.
func inBase(base *attestor.Inherited, s *attestor.Secret) string {
	if s.DiffID != "" && base.Holds(&attestor.Vulnerability{DiffIDs: []attestor.Digest{s.DiffID}}) {
		return " (from the base)"
	}
	return ""
}

// plainPath keeps a path from filling a message.
func plainPath(p string) string { return clip(p) }

// notJudged says what the report does not tell, and which secrets the policy leaves out.
func notJudged(e *attestor.PlatformEvidence, left []*attestor.Secret) (f finding, ok bool) {
	inform := func(code attestor.Code, message, fix string) (finding, bool) {
		return finding{status: attestor.StatusPass, note: true, reason: attestor.Reason{Code: code, Message: message,
			Fix: fix}}, true
	}
	switch {
	case len(left) > 0:
		return inform(
			attestor.CodeSecretFound,
			fmt.Sprintf(
				"%d of %d reported secrets are not judged, such as %s in %s (%s)",
				len(left),
				len(e.Scan.Secrets),
				clip(left[0].Kind),
				plainPath(left[0].Place()),
				clip(left[0].Status),
			),
			"remove them all the same: a secret that was revoked shows how others are handled",
		)
	case len(e.Scan.Secrets) == 0:
		return inform(attestor.CodeSecretsNotReported,
			"no secret is reported; the scanner does not report whether it searched for any",
			"search the image's files in its build if it handles secrets")
	}

	return finding{}, false
}

func (s *Secrets) demands() []string {
	if s.Found == TreatIgnore {
		return []string{"secrets: not judged"}
	}
	which := "not known to be invalid"
	if len(s.Statuses) > 0 {
		words := make([]string, len(s.Statuses))
		for i, status := range s.Statuses {
			words[i] = string(status)
		}
		which = "of status " + strings.Join(words, ", ")
	}
	return []string{fmt.Sprintf("secrets: %s where one is reported that is %s", s.Found, which)}
}

func (l *linter) secrets() {
	s := &l.s.Secrets
	if s.Found == TreatIgnore {
		l.d.at("spec.secrets.found", "is ignore: an image with a valid key in it passes")
	}
	if len(s.Statuses) > 0 && !slices.Contains(s.Statuses, attestor.SecretUnknown) {
		l.d.at("spec.secrets.statuses", "leaves out UNKNOWN: most kinds of secrets are never asked about, and pass")
	}
}
