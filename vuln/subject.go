package vuln

import (
	"fmt"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
)

// isOf demands that the report names the target, by digest or by its layers: a report
// of another image, or of nothing that it says, must never make this one look clean. A
// digest that may be an index's counts for linux/amd64 only, unless the caller knows the
// platform.
func (r report) isOf(t Target) error {
	d := t.Image.Digest()
	scan := "scan the image by its digest, straight from the registry: " + t.Image.String()
	if r.manifest != d && !slices.Contains(r.digests, d) {
		// A scanner that reads a tarball computes a manifest of its own. Where a
		// repository's digest is named it decides.
		if len(r.digests) == 0 {
			if same, err := r.sameLayers(t); err != nil || same {
				return err
			}
		}

		names := joined(append(slices.Clone(r.digests), r.manifest))
		if names == "" {
			return invalid(
				"the report does not say which image it is of: it names no digest, nor the image's layers",
				scan,
			)
		}
		return invalid(fmt.Sprintf("the report is of another image: it names %s, not %s", names, d), scan)
	}

	// RepoDigests name the index where the image was pulled by a tag of one. Scanners
	// pick linux/amd64 from it by default.
	want := t.Platform
	if want == "" {
		if r.manifest == d || r.platform == "" {
			return nil
		}
		want = "linux/amd64"
	}

	if r.platform != "" && r.platform != want && !strings.HasPrefix(want, r.platform+"/") {
		return invalid(
			fmt.Sprintf("the report is of platform %s, but the image is for %s", r.platform, want),
			scan+"; or say which platform the image is of",
		)
	}
	return r.ofOneChild(t, want)
}

// ofOneChild refuses a report of another platform than linux/amd64 for an index: what is stored of an index's digest
// counts for its first linux/amd64 child, which the report did not look at.
func (r report) ofOneChild(t Target, platform string) error {
	if r.manifest == t.Image.Digest() || attestor.SamePlatform(platform, "linux/amd64") {
		return nil
	}
	refusal := invalid(
		fmt.Sprintf("the report is of platform %s, and %s may be an index, whose scan counts for linux/amd64",
			platform, t.Image),
		"name that platform's image by its own digest",
	)
	if t.Index == nil {
		return refusal
	}
	index, err := t.Index()
	switch {
	case err != nil:
		return fmt.Errorf("asking whether %s is an index: %w", t.Image, err)
	case index:
		return refusal
	}
	return nil
}

func joined(digests []attestor.Digest) string {
	var texts []string
	for _, d := range digests {
		if d != "" {
			texts = append(texts, string(d))
		}
	}
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(texts))), ", ")
}
