package summary

import (
	"cmp"
	"context"
	"crypto"
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/referrers"
	"github.com/attestor-gate/attestor/internal/vsa"
)

// bundlePrefix begins the media types of Sigstore bundles of all versions.
const bundlePrefix = "application/vnd.dev.sigstore.bundle"

// A found is a statement in a registry that one of the gate's keys verifies; the zero value is something else.
type found struct {
	by        string // Where of the key that verified it
	statement vsa.Statement
	manifest  attestor.Digest
	place     attestor.Image
}

// find lists the gate's own statements about a digest, the newest first. An error says that it is not known which there
// are.
func (p *Publisher) find(ctx context.Context, place attestor.Image, keys []Key) ([]found, error) {
	list, err := p.c.Registry.List(ctx, place, bundlePrefix)
	if err != nil {
		return nil, unavailable(place, err)
	}

	// One of the rest may be the one that is current, or the one that must go.
	if !list.Whole() {
		return nil, unavailable(place, &attestor.Error{
			Kind: attestor.Upstream, Code: attestor.CodeSummaryUnavailable,
			Msg: fmt.Sprintf("of %d attached referrers, %d are read", list.Listed, len(list.Referrers)),
			Fix: "delete the referrers that are not needed",
		})
	}

	// One key under two names would find a statement twice, and the second one would be deleted in favour of the first.
	var out []found
	seen := map[attestor.Digest]bool{}
	for _, k := range keys {
		pub, err := k.public(ctx)
		if err != nil {
			return nil, err
		}
		for _, desc := range list.Referrers {
			f, err := p.readOne(ctx, place, desc, k, pub)
			if err != nil {
				return nil, unavailable(place, err)
			}
			if f.manifest != "" && !seen[f.manifest] {
				seen[f.manifest] = true
				out = append(out, f)
			}
		}
	}

	// The manifest decides between two of one moment, so that every instance takes the same for the newest.
	slices.SortFunc(out, func(a, b found) int {
		return cmp.Or(
			b.statement.Predicate.TimeVerified.Compare(a.statement.Predicate.TimeVerified),
			strings.Compare(string(a.manifest), string(b.manifest)),
		)
	})
	return out, nil
}

// readOne reads one referrer. The zero value is returned for whatever is not the gate's own: that it is refused by
// nobody's reading here is no fault of the image.
func (p *Publisher) readOne(
	ctx context.Context, place attestor.Image, desc v1.Descriptor, k Key, pub crypto.PublicKey,
) (found, error) {
	// A list may claim any type of a manifest, so that the type leaves out only what names another one.
	if t := desc.ArtifactType; t != "" && !strings.HasPrefix(t, bundlePrefix) && t != emptyType {
		return found{}, nil
	}
	key := readKey{manifest: desc.Digest.String(), about: place.String(), key: k.Where()}
	if f, ok := p.read.Get(key); ok {
		return p.still(ctx, f)
	}

	m, err := p.c.Registry.Manifest(ctx, place, desc)
	_, flawed := errors.AsType[referrers.Flaw](err)
	switch {
	case flawed || errors.Is(err, referrers.ErrNone):
		return found{}, nil
	case err != nil:
		return found{}, err
	case len(m.Layers) != 1 || !strings.HasPrefix(string(m.Layers[0].MediaType), bundlePrefix):
		return found{}, nil
	}

	// The size is bounded whatever the manifest says.
	raw, err := p.c.Registry.Blob(ctx, place, m.Layers[0], maxBundle)
	if _, flawed := errors.AsType[referrers.Flaw](err); flawed {
		return found{}, nil
	}
	if err != nil {
		return found{}, err
	}

	// Whatever the key verifies is the gate's own, whichever verifier.id it names: it was configured otherwise then.
	f := found{}
	if s, err := open(raw, pub, place.Digest()); err == nil {
		f = found{by: k.Where(), statement: s, manifest: attestor.Digest(desc.Digest.String()), place: place}
	}

	// What a digest and a key say does not change; that it is not the gate's own is kept as well.
	p.read.Put(key, f, 1)
	return f, nil
}

// still returns a statement that was read before, unless it is gone: the list of a registry without the referrers API
// is a tag, which goes on naming what somebody deleted.
func (p *Publisher) still(ctx context.Context, f found) (found, error) {
	if f.manifest == "" {
		return f, nil
	}

	// A look for the manifest alone, which costs less than reading it again.
	repo, err := p.repository(f.place)
	if err != nil {
		return found{}, err
	}
	gone, err := p.gone(ctx, repo, v1.Descriptor{Digest: hash(f.manifest)})
	if gone || err != nil {
		return found{}, err
	}
	return f, nil
}

// current reports whether a statement says what is wanted, and is young enough to be reused.
func (p *Publisher) current(f found, w want) bool {
	have, need := f.statement.Predicate, w.predicate
	age := p.c.Now().Sub(have.TimeVerified)

	// Consumers who have the present key alone do not verify what another one signed. A statement from the future would
	// be reused for longer than its age allows.
	return f.by == w.key.Where() && have.Verifier.ID == need.Verifier.ID && have.ResourceURI == need.ResourceURI &&
		have.Policy.URI == need.Policy.URI && have.Policy.Digest["sha256"] == need.Policy.Digest["sha256"] &&
		have.VerificationResult == need.VerificationResult &&
		slices.Equal(have.VerifiedLevels, need.VerifiedLevels) &&
		!have.TimeVerified.IsZero() && age <= p.c.MaxAge && age > -clockSkew
}

// samePolicy reports whether a statement is by the policy, whatever its text was then.
func (f found) samePolicy(uri string) bool { return f.statement.Predicate.Policy.URI == uri }

func (f found) summary(created bool) attestor.Summary {
	pr := f.statement.Predicate
	return attestor.Summary{
		Digest: f.place.Digest(), Policy: pr.Policy.URI, Result: pr.VerificationResult, Levels: pr.VerifiedLevels,
		Time: pr.TimeVerified, Reference: f.place.Sibling(f.manifest).String(), Created: created,
	}
}

// Stands implements [attestor.Summarizer].
func (p *Publisher) Stands(
	ctx context.Context, images []attestor.Image, policy attestor.PolicyRef, n attestor.SummaryNeeds,
) ([]attestor.Summary, error) {
	var out []attestor.Summary
	for _, img := range images {
		// By the present key of passes alone: consumers have no other.
		all, err := p.find(ctx, n.Place(img), []Key{p.c.Passed})
		if err != nil {
			return nil, err
		}
		for _, f := range all {
			pr := f.statement.Predicate
			if f.samePolicy(p.policyURI(policy.Name)) && pr.Policy.Digest["sha256"] == policy.Digest.Hex() &&
				pr.VerificationResult == vsa.Passed && pr.Verifier.ID == p.c.Verifier &&
				pr.ResourceURI == ResourceURI(img) {
				out = append(out, f.summary(false))
				break
			}
		}
	}

	return out, nil
}
