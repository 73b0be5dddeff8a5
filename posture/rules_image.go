package posture

import (
	"regexp"

	"github.com/attestor-gate/attestor"
)

var (
	kmsKey          = regexp.MustCompile(`^projects/[^/]+/locations/[^/]+/keyRings/[^/]+/cryptoKeys/[^/]+$`)
	authorizePolicy = regexp.MustCompile(`^projects/[^/]+/platforms/cloudRun/(policies/)?[^/]+$`)
)

func isKey(name string) bool { return kmsKey.MatchString(name) }

func imageByDigest(c *judging) answer {
	if a, none := noContainers(c); none {
		return a
	}

	var faults []fault
	unknown := false
	for i, k := range c.s.containers {
		if k.image.unknown {
			unknown = true
		} else if _, pinned := asImage(k.image.text); !pinned {
			faults = append(faults, fault{subject: k.name, found: k.label(i) + " runs " + quote(k.image.text)})
		}
		if k.baseImage.text != "" {
			faults = append(faults, fault{subject: k.name,
				found: k.label(i) + " lets Google replace the base beneath the digest"})
		}
	}

	if c.s.baseImages.text != "" {
		faults = append(faults, fault{found: "automatic base image updates replace what is beneath the digest"})
	}

	switch {
	case len(faults) > 0:
		return bad("an image by digest, so that what was judged is what runs", mend{
			flag: "--image=IMAGE@sha256:DIGEST", yaml: "spec.template.spec.containers[].image: IMAGE@sha256:DIGEST",
			v2: `"image": "IMAGE@sha256:DIGEST"`, terraform: `image = "IMAGE@sha256:DIGEST"`,
		}, faults...)
	case unknown:
		return afterApply("an image")
	}

	return good("every image is named by digest")
}

func imageAttested(c *judging) answer {
	if a, none := noContainers(c); none {
		return a
	}
	if c.attested == nil {
		return lacking("nobody was named to ask for attestations", "give --attestor projects/PROJECT/attestors/NAME")
	}

	var faults []fault
	var undecided *answer // one deny outweighs it
	for i, k := range c.s.containers {
		if k.image.unknown {
			a := afterApply("an image")
			undecided = &a
			continue
		}

		img, pinned := asImage(k.image.text)
		if !pinned {
			faults = append(faults, fault{subject: k.name,
				found: k.label(i) + " runs " + quote(k.image.text) + ", which has no digest to be attested"})
			continue
		}

		ok, err := c.isAttested(img)
		switch {
		case attestor.KindOf(err) == attestor.Forbidden && err != nil:
			a := lacking("this caller may not ask about "+img.Repository(), "grant it posture on that repository")
			undecided = &a
		case err != nil:
			a := failed("could not find out whether "+img.String()+" is attested: "+clip(attestor.Message(err)),
				"try again, or see whether the caller may read the attestor's note")
			undecided = &a
		case !ok:
			faults = append(faults, fault{subject: img.String(), found: img.String() + " carries no valid attestation"})
		}
	}

	switch {
	case len(faults) > 0:
		return bad("an attestation of this gate", mend{command: "attestor attest IMAGE and deploy the digest that it prints"},
			faults...)
	case undecided != nil:
		return *undecided
	}

	return good("every image is attested")
}

func binaryAuthorization(c *judging) answer {
	s := c.s
	m := mend{
		flag: "--binary-authorization=default", yaml: "metadata.annotations: {run.googleapis.com/binary-authorization: " +
			"default}",
		v2: `"binaryAuthorization": {"useDefault": true}`, terraform: "binary_authorization { use_default = true }",
	}

	// Of Terraform and Knative the mere presence is a request, even if empty.
	if s.breakglass.set {
		return bad("no standing break-glass", mend{
			command: "gcloud run " + s.kind + "s update " + shell(s.name, "NAME") +
				" --binary-authorization=default without --breakglass",
			yaml:      "remove run.googleapis.com/binary-authorization-breakglass from metadata.annotations",
			v2:        `remove "breakglassJustification" from "binaryAuthorization"`,
			terraform: "remove breakglass_justification from binary_authorization",
		}, fault{subject: "breakglass", found: "a break-glass justification stands, so that nothing is enforced"})
	}

	switch {
	case s.binauthz.unknown || s.breakglass.unknown:
		return afterApply("Binary Authorization")
	case s.binauthz.text == "default":
		return good("Binary Authorization is on, by the project's policy")
	case authorizePolicy.MatchString(s.binauthz.text):
		return good("Binary Authorization is on, by %s", clip(s.binauthz.text))
	case s.binauthz.text == "":
		return bad("default, or a named policy", m, fault{found: "Binary Authorization is off"})
	}

	return bad("default, or a named policy", m, fault{found: "Binary Authorization names " + quote(s.binauthz.text)})
}
