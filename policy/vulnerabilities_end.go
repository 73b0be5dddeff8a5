package policy

import (
	"cmp"
	"fmt"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/when"
)

// oldTable is the age from which the table of ends is pointed out: a release that ended since may still stand in it as
// served.
const oldTable = 365 * 24 * time.Hour

// looksUpEnd reports whether the policy asks for the operating system, rather than judging what a scan says of it
// anyway.
func (v *Vulnerabilities) looksUpEnd() bool {
	return v.EndOfLife == TreatDeny || v.EndOfLife == TreatWarn
}

// endOfLife judges until when the operating system gets fixes. A system that its distributor no longer serves has no
// findings because nobody looks for them.
func (j *judgement) endOfLife(e *attestor.PlatformEvidence) []finding {
	want := &j.spec.Vulnerabilities
	if want.EndOfLife == TreatIgnore {
		return nil
	}

	// The publisher of an approved base knows better than a table until when it is served, in both directions.
	if a := j.approved(e.Base); a != nil && !a.EndOfLife.IsZero() && e.Base.Evidence.Satisfies(j.spec.Base.Evidence) {
		return j.baseEnd(e, a)
	}

	// Both words count: each is a claim, of the image's author or of a scanner, and either can only make the verdict
	// worse.
	var found []finding
	served := false
	for _, s := range []*attestor.System{e.System, e.Scan.System} {
		switch {
		case s == nil:
		case s.Ended(j.ev.Time):
			return j.ended(s)
		case s.Release != "" && !s.Rolling:
			served = true
			found = append(found, j.oldTable(s)...)
		}
	}
	if served || !want.looksUpEnd() {
		return found
	}
	return j.endUnknown(e)
}

// ended refuses a system whose end is over. A policy that does not say otherwise denies it.
func (j *judgement) ended(s *attestor.System) []finding {
	next := "build on a release that is served"
	if s.Successor != "" {
		next = "build on " + s.Successor + ", or another release that is served"
	}
	f := deny(attestor.CodeEndOfLife, clip(s.Name()),
		fmt.Sprintf("%s has got no fixes for everybody since %s%s", clip(s.Name()), clip(s.End), bySource(s)),
		next+"; where fixes are bought, give the end in spec.base.approved[].endOfLife")

	// Absent is no known treatment, so that treat denies.
	f, _ = f.treat(j.spec.Vulnerabilities.EndOfLife)
	return []finding{f}
}

func bySource(s *attestor.System) string {
	of := " (table of " + clip(s.Table) + ")"
	if s.Source == attestor.SystemFromImage {
		return ", by the image's os-release" + of
	}
	return ", by the scan" + of
}

// baseEnd goes by the end that the policy gives the base. It counts by itself only where the policy asks about ends.
func (j *judgement) baseEnd(e *attestor.PlatformEvidence, a *Approved) []finding {
	known := e.System != nil && e.System.End != "" || e.Scan.System != nil && e.Scan.System.End != ""
	if j.ev.Time.Before(a.EndOfLife.start) || !j.spec.Vulnerabilities.looksUpEnd() && !known {
		return nil
	}
	f := deny(attestor.CodeEndOfLife, a.Name,
		fmt.Sprintf("the base %s gets no more fixes since %s, as the policy says", a.Name, a.EndOfLife),
		"build on a base that is served, or correct spec.base.approved[].endOfLife")
	f, _ = f.treat(j.spec.Vulnerabilities.EndOfLife)
	return []finding{f}
}

// endUnknown says what is not known. Only where the scanner does not support the system either, nobody knows of its
// findings, and the policy decides as for a system that is over.
func (j *judgement) endUnknown(e *attestor.PlatformEvidence) []finding {
	message := "which operating system is in the image is not known"
	s := e.System
	if s == nil {
		s = e.Scan.System
	}
	switch {
	case s == nil:
	case s.Rolling:
		message = clip(s.Name()) + " has no releases: its packages get fixes by updates only"
	default:
		message = fmt.Sprintf("until when %s gets fixes is not known to the table of %s", clip(s.Name()), clip(s.Table))
	}

	f := finding{status: attestor.StatusPass, note: true, reason: attestor.Reason{
		Code: attestor.CodeEndOfLifeUnknown, Message: message,
		Fix: "give the end of its base in spec.base.approved[].endOfLife, " +
			"or a table that has it in the configuration (endOfLife.table)",
	}}

	// With onUnsupported: deny the scan's check refuses already.
	if e.Scan.State == attestor.ScanUnsupported && j.spec.Vulnerabilities.Scan.OnUnsupported != RespondDeny {
		f.note, f.reason.Code, f.reason.Subject = false, attestor.CodeEndOfLife, "unsupported"
		f.reason.Message += ", and the scanner does not support it"
		f, _ = f.treat(j.spec.Vulnerabilities.EndOfLife)
	}
	return []finding{f}
}

// oldTable warns of a table that may not have the ends of today.
func (j *judgement) oldTable(s *attestor.System) []finding {
	date, err := when.ParseDate(s.Table)
	if err != nil || j.ev.Time.Sub(date) <= oldTable || !j.spec.Vulnerabilities.looksUpEnd() {
		return nil
	}
	return []finding{{status: attestor.StatusWarn, note: true, reason: attestor.Reason{
		Code: attestor.CodeEndOfLifeUnknown, Subject: "table",
		Message: fmt.Sprintf("the table of ends of life is of %s: %s may have ended since", s.Table, clip(s.Name())),
		Fix:     "upgrade the gate, or give a newer table in its configuration (endOfLife.table)",
	}}}
}

// systemProblems are the check's problems. That the os-release could not be read refuses only where the policy would
// refuse for it.
func (j *judgement) systemProblems(all []finding) []finding {
	out := all[:0]
	for _, f := range all {
		switch want := j.spec.Vulnerabilities.EndOfLife; {
		case f.reason.Code != attestor.CodeSystemUnreadable || want == TreatDeny:
		case want == TreatWarn:
			f.status, f.note = attestor.StatusWarn, true
		default:
			continue
		}
		f.reason.Fix = cmp.Or(f.reason.Fix, "ask again")
		out = append(out, f)
	}
	return out
}
