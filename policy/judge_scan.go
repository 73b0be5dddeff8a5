package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
)

// scanState judges whether there is a scan to go by. skip is set where there
// is none and the policy does not insist on one.
func (j *judge) scanState(i int, e *attestor.PlatformEvidence) (found []finding, skip *attestor.Reason) {
	want, scan := &j.policy.doc.Spec.Vulnerabilities.Scan, &e.Scan
	image := j.ev.Image.Sibling(e.Digest).String()
	var f finding
	switch scan.State {
	case attestor.ScanComplete:
		return j.scanFreshness(scan, image), nil
	case attestor.ScanNotFound:
		f = j.scanNotFound(i, e, image)
	case attestor.ScanPending:
		f = scanError(attestor.CodeScanPending, image, "the scan has not started", "ask again with a longer wait, such as attestor attest --wait 10m")
	case attestor.ScanRunning:
		f = scanError(attestor.CodeScanRunning, image, "the scan is under way", "ask again with a longer wait, such as attestor attest --wait 10m")
	case attestor.ScanFailed:
		if scan.Problem != nil && scan.Problem.Code != "" {
			f = finding{status: attestor.StatusDeny, reason: *scan.Problem}
			break
		}
		f = deny(attestor.CodeScanFailed, image, "the scan failed"+because(scan.Problem), "rebuild and push the image, which has it scanned anew; or scan it on demand and name the project in spec.vulnerabilities.scan.projects")
	case attestor.ScanUnsupported:
		f = deny(attestor.CodeScanUnsupported, image, "the scanner does not support this image, so that its vulnerabilities are not known"+because(scan.Problem),
			"build on a distribution that Artifact Analysis supports, or set spec.vulnerabilities.scan.onUnsupported")
		if f, count := f.respond(want.OnUnsupported); count || want.required() {
			if !count {
				return nil, &f.reason
			}
			return []finding{f}, nil
		}
	case attestor.ScanUnavailable:
		return []finding{unavailable(scan.Problem, image)}, nil
	default:
		return []finding{scanError(attestor.CodeScanStateUnknown, image, fmt.Sprintf("the scan is in a state that is not known: %q", clip(string(scan.State))), "report this as a defect of the gate")}, nil
	}
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
func unavailable(r *attestor.Reason, image string) finding {
	f := scanError(attestor.CodeScanUnavailable, image, "Container Analysis could not be asked", "try again; if it lasts, see the gate's log")
	if r != nil && r.Code != "" {
		f.reason = *r
	}
	return f
}

// scanNotFound tells a scan that is missing yet from one that will never come:
// Google's scanner looks at the first linux/amd64 child of an index only.
func (j *judge) scanNotFound(i int, e *attestor.PlatformEvidence, image string) finding {
	first := slices.IndexFunc(j.ev.Platforms, func(p attestor.PlatformEvidence) bool { return attestor.SamePlatform("linux/amd64", p.Platform) })
	elsewhere := slices.ContainsFunc(j.ev.Platforms, func(p attestor.PlatformEvidence) bool {
		switch p.Scan.State {
		case "", attestor.ScanNotFound, attestor.ScanUnavailable:
			return false
		}
		return true
	})
	if !j.ev.Index || i == first || !elsewhere && first >= 0 {
		return scanError(attestor.CodeScanNotFound, image, "no scan of this digest was found",
			"enable Artifact Analysis scanning for the repository (gcloud services enable containerscanning.googleapis.com) and push the image again; right after a push, ask again with attestor attest --wait 10m")
	}
	return deny(attestor.CodeScanNotOfChild, image,
		fmt.Sprintf("%s has no scan of its own: of an index, the scanner looks at the first linux/amd64 child only", e.Platform),
		fmt.Sprintf("one of: restrict the policy to what is deployed (spec.platforms: [linux/amd64]); bring a scan of this child under a trusted note "+
			"(attestor import REPORT --image %s --to-project PROJECT, with the note in spec.vulnerabilities.scan.trusted); or add a waiver to spec.exceptions: "+
			"{check: vulnerabilities, subject: %s, platforms: [%s], owner: …, reason: …, expires: …}", image, attestor.CodeScanNotOfChild, e.Platform))
}

// scanFreshness judges a scan that finished: whether it still says anything
// about today.
func (j *judge) scanFreshness(scan *attestor.Scan, image string) []finding {
	want := &j.policy.doc.Spec.Vulnerabilities.Scan
	const revive = "pull the image, which has it analysed again within a day: docker pull "
	var found []finding
	if !want.trusts(scan.Note) {
		found = append(found, deny(attestor.CodeScanNotTrusted, image, fmt.Sprintf("the scan is by %q, which the policy does not trust", clip(scan.Note)),
			"name the scanner's note in spec.vulnerabilities.scan.trusted, or the on-demand scan's project in projects"))
	}
	if scan.Archived != nil {
		found = append(found, deny(attestor.CodeScanArchived, image, "the scan was archived on "+scan.Archived.UTC().Format(dateForm)+", since the image was not used for long", revive+image))
	}
	if want.Continuous != ContinuousOptional && scan.Continuous != "ACTIVE" {
		state := scan.Continuous
		if state == "" {
			state = "not reported"
		}
		fix := revive + image
		if len(want.Trusted) > 0 || len(want.Projects) > 0 {
			fix += "; scans by other scanners are never continuous: spec.vulnerabilities.scan.continuous: optional, with maxAge, accepts them"
		}
		found = append(found, deny(attestor.CodeScanInactive, image, "continuous analysis is "+clip(state)+"; ACTIVE is required, since findings are not kept up to date otherwise", fix))
	}
	if oldest := time.Duration(want.MaxAge); oldest > 0 {
		switch {
		case scan.Finished == nil:
			found = append(found, deny(attestor.CodeScanTooOld, image, fmt.Sprintf("the scan does not say when it was made; at most %s is allowed", want.MaxAge), "scan the image again"))
		case j.ev.Time.Sub(*scan.Finished) > oldest:
			found = append(found, deny(attestor.CodeScanTooOld, image, fmt.Sprintf("the last scan was %s ago, on %s; at most %s is allowed",
				days(j.ev.Time.Sub(*scan.Finished)), scan.Finished.UTC().Format(dateForm), want.MaxAge), "scan the image again: rebuild and push it, or "+revive+image))
		}
	}
	for _, t := range want.PackageTypes {
		if !slices.Contains(scan.Analyses, t) {
			found = append(found, deny(attestor.CodeScanPackageTypeMissing, t, fmt.Sprintf("packages of type %s were not analysed; analysed were: %s", t, orNone(scan.Analyses)),
				"have the image scanned for them, or remove the type from spec.vulnerabilities.scan.packageTypes"))
		}
	}
	return found
}

// trusts reports whether a scan under a note, or an on-demand scan by its own
// name, counts. Evidence gathered for this policy has no other.
func (s *Scan) trusts(note string) bool {
	parts := strings.Split(note, "/")
	if len(parts) < 4 || parts[0] != "projects" {
		return false
	}
	kind, id := parts[len(parts)-2], parts[len(parts)-1]
	switch kind {
	case "notes":
		return parts[1] == "goog-analysis" && id == "PACKAGE_VULNERABILITY" || slices.Contains(s.Trusted, note)
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
