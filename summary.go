package attestor

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"
)

// SummaryNeeds says how verification summaries of images are published.
type SummaryNeeds struct {
	Repository string // HOST/PATH that they are stored in; "": the image's own
	Refusals   bool   // denials have one, too, by a key of their own
}

// Place is the image as the repository has it in which its summaries are stored.
func (n SummaryNeeds) Place(img Image) Image {
	if n.Repository == "" {
		return img
	}
	return Image{repository: n.Repository, digest: img.digest}
}

// A Summary is a signed verification summary that stands for a digest: a SLSA VSA, stored in a registry.
type Summary struct {
	Digest    Digest    `json:"digest"` // that it is about
	Policy    string    `json:"policy"` // the policy's URI
	Result    string    `json:"result"` // PASSED or FAILED
	Levels    []string  `json:"levels"`
	Time      time.Time `json:"time"`      // of the decision that it was made by
	Reference string    `json:"reference"` // repository@digest of the referrer
	Created   bool      `json:"created"`   // by this decision; false: it stood already
}

// A LeftSummary is a summary that should have been deleted and is there still.
type LeftSummary struct {
	Digest    Digest `json:"digest"`
	Reference string `json:"reference"`
	Why       string `json:"why"`
	Fix       string `json:"fix,omitempty"`
}

// Summaries are what a [Summarizer] did.
type Summaries struct {
	Standing []Summary
	Left     []LeftSummary // replaced, and the registry refused to delete it
}

// A Summarizer publishes verification summaries. It is safe for concurrent use.
type Summarizer interface {
	// Summarize makes a summary stand of every image that the authorization is for, reusing what stands already. It
	// calls begin once, to have recorded what is about to stand, and may sign meanwhile; nothing is stored unless every
	// summary was signed and begin returned nil, and begin has returned before Summarize does. An authorization without
	// [Authorization.Summary] is an error. On error, what was made is returned all the same.
	Summarize(ctx context.Context, a Authorization, begin func() error) (Summaries, error)
	// Refuse makes a summary of the refusal stand in place of the image's others by the same policy. It is signed with
	// another key than those of passes.
	Refuse(ctx context.Context, r Refusal) (Summaries, error)
	// Stands lists the current summaries of a pass of images by a policy.
	Stands(ctx context.Context, images []Image, policy PolicyRef, n SummaryNeeds) ([]Summary, error)
}

// Policy is the policy by which the right was given.
func (a Authorization) Policy() PolicyRef { return a.policy }

// Time is when the evidence was gathered that was judged.
func (a Authorization) Time() time.Time { return a.time }

// Summary reports whether verification summaries are to be published, and how. An override has none: it is no pass.
func (a Authorization) Summary() (n SummaryNeeds, want bool) {
	if a.summary == nil || a.breakGlass {
		return SummaryNeeds{}, false
	}
	return *a.summary, true
}

// BuildLevel is the SLSA build level that the policy demanded provenance for and that was proven of a digest; 0 for
// none.
func (a Authorization) BuildLevel(d Digest) int { return a.levels[d] }

// Inputs are the digests of the signed statements that were judged of a digest, sorted; none where there were none, or
// where not all of them are known.
func (a Authorization) Inputs(d Digest) []Digest { return slices.Clone(a.inputs[d]) }

// A Refusal is the right to publish that an image was denied. It can be had from [AuthorizeRefusal] only, and nothing
// else can be signed with it.
type Refusal struct {
	decision string
	image    Image
	policy   PolicyRef
	summary  SummaryNeeds
	time     time.Time
}

// AuthorizeRefusal turns a denial by an enforcing policy into the right to publish it, where the policy asks for that,
// and everything else into an error: a pass is no refusal, and an error is no answer.
func AuthorizeRefusal(decision string, v Verdict) (Refusal, error) {
	switch {
	case v.Outcome() != Deny:
		return Refusal{}, fmt.Errorf("publishing a refusal of %s: the verdict is %s", v.image, v.Outcome())
	case decision == "":
		return Refusal{}, fmt.Errorf("publishing a refusal of %s: no decision to record it under", v.image)
	case v.image.IsZero():
		return Refusal{}, fmt.Errorf("publishing a refusal: the image is not resolved")
	case v.policy.Mode != Enforce:
		return Refusal{}, fmt.Errorf("publishing a refusal of %s: policy %q does not enforce", v.image, v.policy.Name)
	// That an image was refused is said in public only where the policy asks for it.
	case v.attest.Summary == nil || !v.attest.Summary.Refusals:
		return Refusal{}, fmt.Errorf("publishing a refusal of %s: policy %q does not ask for it",
			v.image, v.policy.Name)
	}
	return Refusal{
		decision: decision, image: v.image, policy: v.policy, summary: *v.attest.Summary, time: v.time,
	}, nil
}

// Decision is the id under which the image was refused.
func (r Refusal) Decision() string { return r.decision }

// Image is what was refused. Of an index nothing is said of its children: one of them may be good.
func (r Refusal) Image() Image { return r.image }

// Policy is the policy that refused.
func (r Refusal) Policy() PolicyRef { return r.policy }

// Summary says how the refusal is published.
func (r Refusal) Summary() SummaryNeeds { return r.summary }

// Time is when the evidence was gathered that was judged.
func (r Refusal) Time() time.Time { return r.time }

// buildLevels are the SLSA build levels that the checks proved, by digest: of an index the lowest of its children.
func buildLevels(ev Evidence, checks []Check) map[Digest]int {
	levels := map[Digest]int{}
	lowest := -1
	for _, p := range ev.Platforms {
		level := 0
		i := slices.IndexFunc(checks, func(c Check) bool {
			return c.Name == CheckProvenance &&
				c.Platform == p.Platform
		})

		// A warning or a skipped check proves nothing, whatever was found.
		if i >= 0 && checks[i].Status == StatusPass {
			level = max(0, checks[i].BuildLevel)
		}
		levels[p.Digest] = level
		if lowest < 0 || level < lowest {
			lowest = level
		}
	}

	// What is not judged proves nothing.
	if ev.Index && len(ev.Left) == 0 && lowest > 0 {
		levels[ev.Image.Digest()] = lowest
	}
	return levels
}

// maxInputs bounds the statements that one summary names.
const maxInputs = 256

// inputAttestations are the digests of the signed statements that were judged, by the digest that they are about: of an
// index those of its children. SLSA v1.2: "If non-empty, this field MUST contain information on all the attestations
// used", so that a statement without a digest leaves none.
func inputAttestations(ev Evidence) map[Digest][]Digest {
	inputs := map[Digest][]Digest{}
	var all []Digest
	for _, p := range ev.Platforms {
		var used []Digest
		for _, s := range p.Provenance {
			used = append(used, s.Statement)
		}
		for _, s := range p.VEX {
			used = append(used, s.Document)
		}

		// A document that nobody signed is a claim, and no attestation. One by itself is its own statement.
		for _, s := range p.SBOMs {
			if s.SignedBy != "" {
				used = append(used, cmp.Or(s.Statement, s.Digest))
			}
		}
		inputs[p.Digest], all = allOrNone(used), append(all, used...)
	}

	if ev.Index {
		inputs[ev.Image.Digest()] = allOrNone(all)
	}
	return inputs
}

// allOrNone sorts digests, each once. It returns none where one is not known, or where there are too many.
func allOrNone(digests []Digest) []Digest {
	digests = slices.Compact(slices.Sorted(slices.Values(digests)))
	if len(digests) > maxInputs || slices.Contains(digests, "") {
		return nil
	}
	return digests
}
