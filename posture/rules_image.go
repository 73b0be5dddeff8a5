package posture

import (
	"cmp"
	"regexp"
	"slices"

	"github.com/attestor-gate/attestor"
)

var (
	kmsKey          = regexp.MustCompile(`^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$`)
	authorizePolicy = regexp.MustCompile(`^projects/[^/]+/platforms/cloudRun/(policies/)?[^/]+$`)
)

func isKey(name string) bool { return kmsKey.MatchString(name) }

// imageByDigest asks for a digest in every container, side-cars and init
// containers included. A tag can be moved after the gate has judged the image;
// a digest names the same bytes for ever.
func imageByDigest(c *judging) answer {
	if a, none := noContainers(c); none {
		return a
	}

	var faults []fault
	unknown := ""
	for i, k := range c.s.containers {
		// Source code that Cloud Run builds, or runs beneath an image of its own, is in
		// no image that the gate judged, whatever the container's image is.
		if k.source != "" {
			faults = append(faults,
				fault{subject: k.name, found: k.label(i) + " runs " + k.source + ", which no image holds"})
			continue
		}

		if k.image.unknown {
			unknown = "an image"
		} else if _, pinned := asImage(k.image.text); !pinned {
			faults = append(faults, fault{subject: k.name, found: k.label(i) + " runs " + quote(k.image.text)})
		}

		// "baseImageUri: Base image for this container. If set, it indicates that
		// the service is enrolled into automatic base image update": Google then
		// replaces the layers beneath the digest.
		if k.baseImage.unknown {
			unknown = cmp.Or(unknown, "whether a container has automatic base image updates")
		}
		if k.baseImage.text != "" {
			faults = append(faults, fault{subject: k.name,
				found: k.label(i) + " has automatic base image updates, which replace layers beneath the digest"})
		}
	}

	if c.s.sources.text != "" {
		faults = append(faults, fault{found: "source code from Cloud Storage runs, which no image holds"})
	}
	if anyLauncher(c.s) && c.s.sandboxes == 0 {
		faults = append(faults, fault{found: "a sandbox launcher without templates starts any image"})
	}
	if c.s.baseImages.text != "" {
		faults = append(faults, fault{found: "automatic base image updates replace layers beneath the digest"})
	}

	switch {
	case len(faults) > 0:
		return violated("an image by digest, so that the judged image is the one that runs", pinnedImages(c.s),
			faults...)
	case unknown != "":
		return afterApply(unknown)
	case c.s.sources.unknown:
		return afterApply("whether source code from Cloud Storage runs")
	case c.s.baseImages.unknown:
		return afterApply("whether there are automatic base image updates")
	}

	return satisfied("every image is named by digest")
}

// pinnedImages is the remedy for what runs without being judged: images by tag, source code, updates beneath a digest.
func pinnedImages(s *workload) remedy {
	var m remedy
	var tagged []string
	updated, built := s.baseImages.text != "", s.sources.text != ""
	for _, k := range s.containers {
		if _, pinned := asImage(k.image.text); !pinned || k.source != "" || s.sources.text != "" {
			tagged = append(tagged, k.name)
		}
		updated, built = updated || k.baseImage.text != "", built || k.source != ""
	}

	if len(tagged) > 0 {
		m.flag, m.containers = "--image="+sampleImage, containersOf(s, tagged...)
		m.knative = []edit{revisionField(sampleImage, "containers", "[]", "image").toFill()}
		m.fields = []edit{field(sampleImage, "template", "containers", "[]", "image").toFill()}
	}
	if built {
		m.knative = append(m.knative, without(revisionAnnotation(runPrefix+"sources", "")).toFill())
		m.fields = append(m.fields, without(field(nil, "template", "containers", "[]", "sourceCode")).toFill())
	}
	if anyLauncher(s) && s.sandboxes == 0 {
		m.knative = append(m.knative, without(revisionField(nil, "containers", "[]", "sandboxLauncher")).toFill())
		m.fields = append(m.fields, without(field(nil, "template", "containers", "[]", "sandboxLauncher")).toFill())
	}

	// Only a deployment has the flag; an update of the service has not.
	if updated && s.kind == kindService {
		m.command = s.deployed() + " --image=" + sampleImage + " --clear-base-image"
		m.flag = ""
	}
	if updated {
		for _, name := range []string{"base-images", "build-enable-automatic-updates", "enable-automatic-updates"} {
			m.knative = append(m.knative, without(revisionAnnotation(runPrefix+name, "")).toFill(),
				without(annotation(runPrefix+name, "")).toFill())
		}
		m.knative = append(m.knative, without(revisionField(nil, "runtimeClassName")).toFill())
		m.fields = append(m.fields, without(field(nil, "template", "containers", "[]", "baseImageUri")).toFill(),
			without(field(nil, "buildConfig", "enableAutomaticUpdates")).toFill())
	}

	return m
}

const sampleImage = "IMAGE@sha256:DIGEST"

func anyLauncher(s *workload) bool {
	return slices.ContainsFunc(s.containers, func(c container) bool { return c.launcher })
}

// imageAttested asks whether each image carries an attestation that verifies.
// One image without an attestation outweighs any number of failed look-ups; a
// failed look-up outweighs every attestation that was found.
func imageAttested(c *judging) answer {
	if a, none := noContainers(c); none {
		return a
	}
	if c.attested == nil {
		return missingEvidence("no attestor is configured to look up attestations",
			"pass --attestor projects/PROJECT/attestors/NAME")
	}

	var faults []fault
	var undecided *answer // of the last look-up that failed
	if c.s.sources.text != "" {
		faults = append(faults, fault{found: "source code from Cloud Storage has no attestation"})
	}

	for i, k := range c.s.containers {
		if k.source != "" {
			faults = append(faults,
				fault{subject: k.name, found: k.label(i) + " runs " + k.source + ", which has no attestation"})
			continue
		}
		if k.image.unknown {
			a := afterApply("an image")
			undecided = &a
			continue
		}

		img, pinned := asImage(k.image.text)
		if !pinned {
			faults = append(faults, fault{subject: k.name,
				found: k.label(i) + " runs " + quote(k.image.text) + ", and an attestation is for a digest"})
			continue
		}

		ok, err := c.isAttested(img)
		switch {
		case attestor.KindOf(err) == attestor.Forbidden && err != nil:
			a := missingEvidence("this caller may not look up attestations in "+img.Repository(),
				"grant the caller posture on that repository")
			undecided = &a
		case err != nil:
			a := undetermined("looking up attestations of "+img.String()+" failed: "+clip(attestor.Message(err)),
				"retry; if it fails again, grant the caller roles/containeranalysis.notes.occurrences.viewer "+
					"on the note")
			undecided = &a
		case !ok:
			faults = append(faults, fault{subject: img.String(), found: img.String() + " has no valid attestation"})
		}
	}

	switch {
	case len(faults) > 0:
		return violated("an attestation of this gate",
			remedy{command: "attestor attest IMAGE, then deploy the digest in its output"},
			faults...)
	case undecided != nil:
		return *undecided
	}

	return satisfied("every image is attested")
}

// binaryAuthorization asks that Cloud Run enforces a Binary Authorization policy
// when it deploys. ADMISSION_POLICY judges what that policy says.
func binaryAuthorization(c *judging) answer {
	s := c.s
	m := remedy{
		flag:     "--binary-authorization=default",
		knative:  []edit{annotation(runPrefix+"binary-authorization", "default")},
		fields:   []edit{field(true, "binaryAuthorization", "useDefault")},
		function: block("service_config", `binary_authorization_policy = "default"`),
	}

	// "If present, indicates to use Breakglass using this justification" (run/v2):
	// in Knative an empty justification counts as present too, while the v2 forms have "" where nothing is set.
	if s.breakglass.set {
		return violated("no break-glass justification", remedy{
			flag:    "--binary-authorization=default", // a deployment without --breakglass drops the justification
			knative: []edit{without(annotation(runPrefix+"binary-authorization-breakglass", ""))},
			fields:  []edit{without(field(nil, "binaryAuthorization", "breakglassJustification"))},
		}, fault{subject: "breakglass", found: "a break-glass justification is set, so that Cloud Run does not " +
			"enforce the policy"})
	}

	// Only the two documented values pass: "default", and the name of a platform
	// policy for Cloud Run.
	switch {
	case s.binauthz.unknown || s.breakglass.unknown:
		return afterApply("Binary Authorization")
	case s.binauthz.text == "default":
		return satisfied("Binary Authorization is on, by the project's policy")
	case authorizePolicy.MatchString(s.binauthz.text):
		return satisfied("Binary Authorization is on, by %s", clip(s.binauthz.text))
	case s.binauthz.text == "":
		return violated("default, or a named policy", m, fault{found: "Binary Authorization is off"})
	}

	return violated("default, or a named policy", m,
		fault{found: "Binary Authorization names " + quote(s.binauthz.text)})
}
