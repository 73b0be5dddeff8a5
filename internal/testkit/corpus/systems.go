package corpus

import (
	"strings"
	"time"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
)

// OfSystem makes a finding one of a package of a distribution, by its CPE.
func OfSystem(cpe string) Change {
	return Vulnerable(func(_ *grafeaspb.VulnerabilityOccurrence, p *grafeaspb.VulnerabilityOccurrence_PackageIssue) {
		p.AffectedCpeUri = cpe
	})
}

// systems are images whose distribution gets no more fixes.
func systems() []Case {
	const group = "systems/"
	const old, served = "cpe:/o:debian:debian_linux:9", "cpe:/o:redhat:enterprise_linux:10"
	now := time.Now()
	over := denied(attestor.CodeEndOfLife)
	with := func(cpe string) func(string) []*grafeaspb.Occurrence {
		return func(uri string) []*grafeaspb.Occurrence {
			return []*grafeaspb.Occurrence{Complete(uri, now),
				Finding(uri, "CVE-2026-1", grafeaspb.Severity_LOW, OfSystem(cpe))}
		}
	}
	scannedAs := func(cpe string) func(string) []*grafeaspb.Occurrence {
		return func(uri string) []*grafeaspb.Occurrence {
			return []*grafeaspb.Occurrence{Complete(uri, now,
				func(o *grafeaspb.Occurrence) { o.GetDiscovery().Cpe = cpe })}
		}
	}

	asked := strings.Replace(AnyBase, "maximumUnfixableSeverity: HIGH",
		"maximumUnfixableSeverity: HIGH, endOfLife: deny", 1)
	image := func(release string) func(p *Place) {
		return func(p *Place) {
			p.Push(
				Image{Layers: []Layer{TarLayer(File{"usr/lib/os-release", release},
					File{"etc/os-release", "->../usr/lib/os-release"}), LayerOf(p.Name)}})
		}
	}
	return []Case{
		scanned(group+"past its end, by its findings", "", over, with(old)),
		scanned(group+"served, by its findings", "", admitted(),
			with(served)).mending(group + "past its end, by its findings"),
		scanned(group+"past its end, by the scan alone", "", over, scannedAs(old)),
		scanned(group+"served, by the scan alone", "", admitted(), scannedAs(served)).mending(group + "past its end, " +
			"by the scan alone"),
		scanned(group+"past its end, where that is ignored", policyOf(", endOfLife: ignore"), admitted(),
			with(old)).mending(group + "past its end, by its findings"),
		{Name: group + "past its end, by the image's own word", Policy: asked, Want: over,
			Arrange: image("ID=alpine\nVERSION_ID=3.12.1\n")},
		Case{Name: group + "rolling, by the image's own word", Policy: asked, Want: admitted(),
			Arrange: image("ID=wolfi\nVERSION_ID=20230201\n")}.
			mending(group + "past its end, by the image's own word"),
		{Name: group + "in a layer that cannot be read", Policy: asked, Want: undecided(attestor.CodeSystemUnreadable), Arrange: func(p *Place) {
			p.Push(
				Image{Layers: []Layer{{Blob: []byte("this is no tar, and not the end of one"), MediaType: OCILayer}}})
		}},
	}
}
