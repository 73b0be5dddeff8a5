package policy

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
)

// scanState judges whether there is a scan to go by. skip is set where there
// is none and the policy does not insist on one.
func (j *judgement) scanState(e *attestor.PlatformEvidence) (found []finding, skip *attestor.Reason) {
	want, scan := &j.spec.Vulnerabilities.Scan, &e.Scan
	image := j.ev.Image.Sibling(e.Digest).String()
	if scan.State == attestor.ScanComplete {
		return j.scanFreshness(scan, image), nil
	}

	var f finding
	switch scan.State {
	case attestor.ScanNotFound:
		f = j.scanNotFound(e, image)
	case attestor.ScanPending:
		f = scanError(
			attestor.CodeScanPending, image, "the scan has not started",
			"ask again with a longer wait, such as attestor attest --wait 10m",
		)
	case attestor.ScanRunning:
		f = scanError(
			attestor.CodeScanRunning, image, "the scan is under way",
			"ask again with a longer wait, such as attestor attest --wait 10m",
		)
	case attestor.ScanFailed:
		if scan.Problem != nil && scan.Problem.Code != "" {
			f = finding{status: attestor.StatusDeny, reason: *scan.Problem}
			break
		}
		f = deny(
			attestor.CodeScanFailed, image, "the scan failed"+because(scan.Problem),
			"rebuild and push the image, which has it scanned anew; or scan it on demand and name the project in "+
				"spec.vulnerabilities.scan.projects",
		)
	case attestor.ScanUnsupported:
		f = deny(
			attestor.CodeScanUnsupported, image,
			"the scanner does not support this image, so that its vulnerabilities are not known"+because(scan.Problem),
			"build on a distribution that the scanner supports, or set spec.vulnerabilities.scan.onUnsupported",
		)

		if f, count := f.respond(want.OnUnsupported); count || want.required() {
			if !count {
				return nil, &f.reason
			}
			return []finding{f}, nil
		}
	case attestor.ScanUnavailable:
		return []finding{unavailable(scan, image)}, nil
	default:
		// A state of a later version may mean anything, and is never "not required".
		return []finding{scanError(
			attestor.CodeScanStateUnknown, image,
			fmt.Sprintf("the scan is in an unknown state: %q", clip(string(scan.State))),
			"report this as a defect of the gate",
		)}, nil
	}

	// An image without a scan passes only where the policy does not require one, and then the check counts as not made.
	if !want.required() {
		f.reason.Message += "; the policy does not require a scan"
		return nil, &f.reason
	}
	return []finding{f}, nil
}

func scanError(code attestor.Code, subject, message, fix string) finding {
	return deny(code, subject, message, fix).as(attestor.StatusError)
}

func because(r *attestor.Reason) string {
	if r == nil || r.Message == "" {
		return ""
	}
	return ": " + clip(r.Message)
}

// unavailable is an error even where a scan is not required: an outage never
// turns into a pass.
func unavailable(scan *attestor.Scan, image string) finding {
	f := scanError(
		attestor.CodeScanUnavailable, image, scan.By().Name+" could not be asked",
		"try again; if it lasts, see the gate's log",
	)

	if r := scan.Problem; r != nil && r.Code != "" {
		f.reason = *r
	}
	return f
}

// scanNotFound distinguishes a scan that is missing yet from one that will never come, since the scanner looks at one
// child of an index only.
func (j *judgement) scanNotFound(e *attestor.PlatformEvidence, image string) finding {
	children := make([]attestor.Child, len(j.ev.Platforms))
	for i, p := range j.ev.Platforms {
		children[i] = p.Child
	}

	by := e.Scan.By()
	first := attestor.ScannedChild(by.Platform, children, j.ev.Left)

	// Another child with a scan shows that the scanner has been here: this child's will not come.
	elsewhere := slices.ContainsFunc(j.ev.Platforms, func(p attestor.PlatformEvidence) bool {
		switch p.Scan.State {
		case "", attestor.ScanNotFound, attestor.ScanUnavailable:
			return false
		}
		return true
	})

	own := first >= 0 && e == &j.ev.Platforms[first]
	if !j.ev.Index || by.Platform == "" || own || !elsewhere && first >= 0 {
		return scanError(attestor.CodeScanNotFound, image, "no scan of this digest was found",
			cmp.Or(by.Enable, "have the repository's images scanned")+
				" and push the image again; right after a push, ask again with attestor attest --wait 10m")
	}

	return deny(
		attestor.CodeScanNotOfChild,
		image,
		fmt.Sprintf(
			"%s has no scan of its own: of an index, the scanner looks at the first %s child only", e.Platform,
			by.Platform,
		),
		fmt.Sprintf(
			"one of: restrict the policy to what is deployed (spec.platforms: [%s]); "+
				"bring a scan of this child under a trusted note (attestor import REPORT --image %s "+
				"--to-project PROJECT, "+
				"with the note in spec.vulnerabilities.scan.trusted); or add a waiver to spec.exceptions: "+
				"{check: vulnerabilities, subject: %s, platforms: [%s], owner: …, reason: …, expires: …}",
			by.Platform, image, attestor.CodeScanNotOfChild, e.Platform,
		),
	)
}

// scanFreshness judges a scan that finished: whether it still says anything
// about today.
func (j *judgement) scanFreshness(scan *attestor.Scan, image string) []finding {
	want := &j.spec.Vulnerabilities.Scan
	refresh := func() string { return cmp.Or(scan.By().Refresh, "have the image scanned again:") + " " + image }
	var found []finding

	// A scan that somebody else wrote says what its author likes.
	if !want.trusts(scan) {
		found = append(found, deny(
			attestor.CodeScanNotTrusted, image,
			fmt.Sprintf("the scan is by %q, which the policy does not trust", clip(scan.Note)),
			"name the scanner's note in spec.vulnerabilities.scan.trusted, or the on-demand scan's project in projects",
		))
	}

	if scan.Archived != nil {
		found = append(found, deny(
			attestor.CodeScanArchived,
			image,
			"the scan was archived on "+scan.Archived.UTC().Format(dateForm)+", since the image was not used for long",
			refresh(),
		))
	}

	// Findings that are published after the scan reach an image only while the scanner keeps analysing it.
	if want.Continuous != ContinuousOptional && scan.Continuous != "ACTIVE" {
		state := scan.Continuous
		if state == "" {
			state = "not reported"
		}
		fix := refresh()
		if len(want.Trusted) > 0 || len(want.Projects) > 0 {
			fix += "; scans by other scanners are never continuous: " +
				"spec.vulnerabilities.scan.continuous: optional, with maxAge, accepts them"
		}

		found = append(found, deny(
			attestor.CodeScanInactive,
			image,
			"continuous analysis is "+clip(state)+"; ACTIVE is required, since findings are not kept up to "+
				"date otherwise",
			fix,
		))
	}

	// A scan without a date may be of any age.
	if oldest := time.Duration(want.MaxAge); oldest > 0 {
		switch {
		case scan.Finished == nil:
			found = append(found, deny(
				attestor.CodeScanTooOld, image,
				fmt.Sprintf("the scan does not say when it was made; at most %s is allowed", want.MaxAge),
				"scan the image again",
			))
		// A day that has not come is nobody's measurement, and would let the scan stay young until it comes.
		case !j.ev.Time.IsZero() && scan.Finished.Sub(j.ev.Time) > maxClockError:
			found = append(found, deny(
				attestor.CodeScanTooOld, image,
				fmt.Sprintf("the scan says that it was made on %s, which has not come yet, so that its age is not "+
					"known; at most %s is allowed",
					scan.Finished.UTC().Format(dateForm), want.MaxAge),
				"set the clock of the machine that scans, and scan the image again",
			))
		case j.ev.Time.Sub(*scan.Finished) > oldest:
			found = append(found, deny(
				attestor.CodeScanTooOld, image,
				fmt.Sprintf("the last scan was %s ago, on %s; at most %s is allowed",
					days(j.ev.Time.Sub(*scan.Finished)), scan.Finished.UTC().Format(dateForm), want.MaxAge),
				"scan the image again: rebuild and push it, or "+refresh(),
			))
		}
	}

	// No finding of a type that was not analysed means nothing.
	for _, t := range want.typesAsked(scan) {
		if !slices.Contains(scan.Analyses, t) {
			found = append(found, deny(
				attestor.CodeScanPackageTypeMissing, t,
				fmt.Sprintf("packages of type %s were not analysed; analysed were: %s", t, orNone(scan.Analyses)),
				"have the image scanned for them, or name only the types that must be in "+
					"spec.vulnerabilities.scan.packageTypes",
			))
		}
	}
	return found
}

// maxClockError is how far the clock of whoever scans may be ahead.
const maxClockError = 24 * time.Hour

// typesAsked are the package types that a scan must have analysed.
func (s *Scan) typesAsked(scan *attestor.Scan) []string {
	// An imported report lists the types that it covered. A list without those of the operating system is not a scan of
	// all packages. The gate's own scanner is not known to list every type, so that nothing follows from its list.
	if s.PackageTypes == nil && len(scan.Analyses) > 0 && !scan.By().Owns(scan.Note) {
		return []string{"OS"}
	}
	return s.PackageTypes
}

// trusts reports whether a scan counts: under the note of the scanner that was asked, under a note that the policy
// names, or an on-demand scan by its own name in a project that the policy names. Evidence gathered for this policy has
// no other. Anybody can write a scan into a project of their own, so that nothing else is believed.
func (s *Scan) trusts(scan *attestor.Scan) bool {
	note := scan.Note
	parts := strings.Split(note, "/")
	if len(parts) < 4 || parts[0] != "projects" {
		return false
	}

	switch parts[len(parts)-2] {
	case "notes":
		return scan.By().Owns(note) || slices.Contains(s.Trusted, note)
	case "scans":
		return slices.Contains(s.Projects, parts[1])
	}
	return false
}

func orNone(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ", ")
}
