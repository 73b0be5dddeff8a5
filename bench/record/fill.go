package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sort"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

const (
	repositories = 5000
	period       = 90 * 24 * time.Hour
	bases        = 9   // of images
	perImage     = 4   // decisions on one image, on average
	advisories   = 400 // that an image's findings are of
	findings     = 120 // of one image
)

// fill records decisions until there are n of them, in bulk. They are numbered, so that a
// filling that was interrupted goes on where it ended. A record with other decisions is
// an error.
func fill(ctx context.Context, s *audit.Store, n int, end time.Time) (filled int, err error) {
	start, err := filledTo(ctx, s, n)
	if err != nil {
		return 0, err
	}
	return s.Load(ctx, func(yield func(attestor.Record) bool) {
		m := newMaker()
		for i := start; i < n; i++ {
			if !yield(m.record(i, n, end)) {
				return
			}
		}
	})
}

// filledTo is how many of the n decisions a record has: the first ones, since they are
// recorded in order.
func filledTo(ctx context.Context, s *audit.Store, n int) (int, error) {
	var failed error
	first := sort.Search(n, func(i int) bool {
		_, err := s.Decision(ctx, idOf(i))
		if attestor.KindOf(err) != attestor.NotFound {
			failed = errors.Join(failed, err)
		}
		return err != nil
	})
	return first, failed
}

// digestOf is a digest of a number.
func digestOf(n int) attestor.Digest { return attestor.DigestOf(fmt.Append(nil, n)) }

// repositoryOf is the n-th repository: some are asked about much more often.
func repositoryOf(n int) string {
	return fmt.Sprintf("us-docker.pkg.dev/acme/team-%d/service-%d", n%200, n)
}

// idOf is the id of the i-th decision.
func idOf(i int) string { return fmt.Sprintf("0199%08x-0000-7000-8000-%012x", i, i) }

// A maker makes decisions one after the other. Those that follow each other are on one
// image, which is scanned once a day: lastScanTime of its discovery occurrence changes no
// more often, and decisions of one day have the same evidence.
type maker struct {
	image    int
	day      time.Time
	scanned  time.Time
	findings []attestor.Vulnerability

	known []attestor.Vulnerability // each advisory, without dates and layers
	bases [bases][layers]attestor.Digest
}

// newMaker makes what all images have in common once: making records must not take as long as recording them.
func newMaker() *maker {
	levels := []attestor.Severity{attestor.Critical, attestor.High, attestor.Medium, attestor.Low, attestor.Low,
		attestor.Minimal}
	m := &maker{known: make([]attestor.Vulnerability, bases*findings+advisories)}
	for n := range m.known {
		id := fmt.Sprintf("CVE-2026-%05d", n)
		m.known[n] = attestor.Vulnerability{
			ID: id, Note: "projects/goog-vulnz/notes/" + id, Severity: levels[n%len(levels)],
			Package: fmt.Sprint("package-", n%300), PackageType: "OS", Version: "3.0.11-1~deb12u2",
			FixedVersion: "3.0.15-1~deb12u1", Fixable: n%2 == 0,
		}
	}
	for base := range m.bases {
		for i := range m.bases[base] {
			m.bases[base][i] = attestor.DigestOf(fmt.Appendf(nil, "base %d, layer %d", base, i))
		}
	}
	return m
}

// record is the i-th of n decisions, the oldest first.
func (m *maker) record(i, n int, end time.Time) attestor.Record {
	// By the number, so that a filling that goes on makes the same records.
	random := rand.New(rand.NewPCG(uint64(i), 1)) //nolint:gosec // not a secret
	at := end.Add(-period + time.Duration(i)*(period/time.Duration(n)))
	image := i / perImage

	// An image is in one repository: in any, or in one of those that are asked about most.
	repository := repositoryOf(image % repositories)
	if image%3 == 0 {
		popular := rand.New(rand.NewPCG(uint64(image), 3)) //nolint:gosec // not a secret
		repository = repositoryOf(int(float64(repositories) * popular.Float64() * popular.Float64()))
	}
	img, err := attestor.ParseImage(repository + "@" + string(digestOf(image)))
	if err != nil {
		panic(err) // made of constants and numbers
	}

	verdict := []attestor.Outcome{attestor.Pass, attestor.Pass, attestor.Pass, attestor.Deny, attestor.Deny,
		attestor.Undecided}[random.IntN(6)]
	if day := at.Truncate(24 * time.Hour); m.findings == nil || m.image != image || !m.day.Equal(day) {
		m.image, m.day, m.scanned, m.findings = image, day, at, m.findingsOf(image, day)
	}
	found, scanned := m.findings, m.scanned
	child := attestor.Child{Platform: "linux/amd64", Digest: img.Digest()}
	scan := attestor.Scan{State: attestor.ScanComplete, Finished: &scanned, Findings: found}
	uid := int64(65532)
	user := attestor.User{Configured: "65532:65532", UID: &uid, GID: &uid, Source: attestor.UserFromConfig}
	requested := fmt.Sprintf("%s:v%d", repository, image%1000)
	d := attestor.Decision{
		ID: idOf(i), Time: at, DurationMS: 140, Verdict: verdict, DryRun: i%7 == 0,
		Image: attestor.DecidedImage{Requested: requested, Reference: img.String(), Digest: img.Digest(),
			MediaType: "application/vnd.oci.image.manifest.v1+json"},
		Policy: &attestor.PolicyRef{Name: fmt.Sprint("policy-", image%12), Digest: digestOf(-1 - image%12),
			Mode: attestor.Enforce},
		Platforms: []attestor.PlatformSummary{{
			Child: child, User: user, Base: attestor.BaseSummary{Name: fmt.Sprint("base-", image%bases),
				Current: image%4 > 0, Behind: "12d", Layers: 4},
			Scan: attestor.ScanSummary{State: scan.State, Finished: &scanned, Counts: scan.Counts(),
				Fixable: len(found) / 2},
		}},
		Checks: checksOf(verdict, found), Attestations: []attestor.Attestation{},
		Caller: attestor.CallerRef{Subject: fmt.Sprintf("build-%d@acme.iam.gserviceaccount.com", image%300),
			Issuer: "https://accounts.google.com"},
		Labels:    map[string]string{"team": fmt.Sprint("team-", image%200), "build": fmt.Sprint(i)},
		RequestID: fmt.Sprintf("%032x", i),
		Stages:    map[string]float64{"inspect": 61.5, "scan": 40.25, "attest": 38},
	}
	if i%1000 == 17 && verdict != attestor.Pass {
		d.BreakGlass = &attestor.BreakGlass{Reason: "INC-1234 checkout is down", By: "oncall@acme.example"}
	}
	return attestor.Record{Decision: d,
		PolicyText: fmt.Appendf(nil, "apiVersion: attestor/v1\nkind: GatePolicy\nmetadata: {name: policy-%d}\n",
			image%12),
		Evidence: attestor.Evidence{
			Time: at, Image: img, Requested: requested, MediaType: d.Image.MediaType,
			Platforms: []attestor.PlatformEvidence{{Child: child, User: user, Scan: scan}},
		}}
}

// findingsOf are those of an image: what its base has, and some of its own.
func (m *maker) findingsOf(image int, day time.Time) []attestor.Vulnerability {
	random := rand.New(rand.NewPCG(uint64(image), 2)) //nolint:gosec // not a secret
	var own [layers]attestor.Digest
	for i := range own {
		own[i] = attestor.DigestOf(fmt.Appendf(nil, "image %d, layer %d", image, i))
	}

	out := make([]attestor.Vulnerability, findings)
	for i := range out {
		// Images on one base have its findings, in its layers.
		n, layer := image%bases*findings+i, m.bases[image%bases][i%layers]
		if i > findings*3/4 {
			n, layer = bases*findings+random.IntN(advisories), own[i%layers]
		}
		published := day.AddDate(0, 0, -n%200)
		out[i] = m.known[n]
		out[i].Published, out[i].DiffIDs = &published, []attestor.Digest{layer}
	}
	return out
}

// layers are those of a base, and as many of an image's own, that findings are in. Those of real images
// are in few layers: the twelve of DefectDojo's sample of Artifact Analysis in three, nine of them in the bases'.
const layers = 4

// checksOf are a decision's checks, with reasons where it does not pass.
func checksOf(verdict attestor.Outcome, found []attestor.Vulnerability) []attestor.Check {
	var out []attestor.Check
	for _, name := range []string{attestor.CheckPlatforms, attestor.CheckBase, attestor.CheckUser,
		attestor.CheckVulnerabilities} {
		c := attestor.Check{Name: name, Platform: "linux/amd64", Status: attestor.StatusPass,
			Reasons: []attestor.Reason{}}
		if name == attestor.CheckVulnerabilities && verdict != attestor.Pass {
			c.Status = attestor.Status(verdict)
			for _, v := range found[:6] {
				c.Reasons = append(c.Reasons, attestor.Reason{
					Code: attestor.CodeFixableSeverityExceeded, Severity: attestor.Refuses, Subject: v.ID,
					Message: fmt.Sprintf("%s in %s %s, limit for fixable is MEDIUM", v.Severity, v.Package, v.Version),
					Fix:     fmt.Sprintf("update %s to %s", v.Package, v.FixedVersion),
				})
			}
		}
		out = append(out, c)
	}

	return out
}
