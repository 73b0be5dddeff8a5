package attestor

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Needs is what a policy wants found out. It is computed once when the policy
// is loaded and says nothing of what is acceptable.
type Needs struct {
	Platforms    []string // nil: every runnable child
	ResolveNames bool     // look user names up in the image's /etc/passwd
	// ResolveMembers looks up in the image's /etc/passwd and /etc/group which further groups a user by number has, whether
	// names are looked up or not: runtimes add these groups in any case.
	ResolveMembers bool
	System         bool // read the image's os-release from its layers
	BaseRequired   bool
	// the least that counts: verifying diffIDs costs a download, so it is done only where it can help
	BaseEvidence Level
	Bases        []ApprovedBase
	Scan         ScanNeeds
	Provenance   *ProvenanceNeeds // nil: not asked for
	SBOM         *SBOMNeeds       // nil: not asked for
	VEX          *VEXNeeds        // nil: documents are not asked for
	UploadTime   bool
	Attest       AttestNeeds
}

// An ApprovedBase is one entry of a policy's catalogue.
type ApprovedBase struct {
	Name       string
	Repository string
	Tags       []string
	Digests    []Digest // of indexes or manifests
	MaxBehind  time.Duration
	SignedBy   *SignedBy // nil: signature not required
}

// SignedBy says who must have signed: either a key, or a keyless identity with
// issuer and subject.
type SignedBy struct {
	Key           string // a PEM file's path, or gcpkms://…
	Issuer        string // exact
	Subject       string // exact; or
	SubjectRegexp string // anchored at both ends by its verifier
	TrustedRoot   string // a trusted_root.json's path; "" is the configured default
	Transparency  *bool  // nil: required for keyless, not for keys
}

// Text is one line that stands for the rule in evidence: two rules with the
// same text accept the same signatures. It is "" for nil.
func (s *SignedBy) Text() string {
	if s == nil {
		return ""
	}
	var b strings.Builder
	if s.Key != "" {
		fmt.Fprintf(&b, "key=%q", s.Key)
	} else {
		fmt.Fprintf(&b, "issuer=%q", s.Issuer)
		if s.Subject != "" {
			fmt.Fprintf(&b, " subject=%q", s.Subject)
		} else {
			fmt.Fprintf(&b, " subjectRegexp=%q", s.SubjectRegexp)
		}
	}

	if s.TrustedRoot != "" {
		fmt.Fprintf(&b, " trustedRoot=%q", s.TrustedRoot)
	}
	if s.Transparency != nil {
		fmt.Fprintf(&b, " transparency=%t", *s.Transparency)
	}
	return b.String()
}

// ScanNeeds says which scans count.
type ScanNeeds struct {
	Required    bool
	Trusted     []string // notes of other scanners, projects/P/notes/N
	Projects    []string // further projects whose scans count, as for on-demand scans
	VEXProjects []string
	Advisories  bool // publication dates are needed, for grace periods
}

// ProvenanceNeeds says which statements are worth verifying.
type ProvenanceNeeds struct {
	Builders []string
	SignedBy *SignedBy // for statements attached with cosign; nil: Cloud Build's only
	Summary  *SignedBy // for verification summaries of an earlier stage; nil: not asked for
}

// SBOMNeeds says which bills of materials are worth verifying.
type SBOMNeeds struct {
	SignedBy *SignedBy // nil: whoever signed a document, it is a claim
}

// AttestNeeds says by whom and how an image that passes is attested.
type AttestNeeds struct {
	Attestors  []string // projects/P/attestors/A
	BreakGlass []string // attestors used instead when a denial is overridden; none: the same. [AttestNeeds.For] chooses
	Children   bool
	DSSE       bool
	DSSENote   string
	Summary    *SummaryNeeds // nil: no verification summary is published
}

// For lists the attestors that must attest: those of an image that passed, or
// those of one that is admitted by break-glass. None means that the image
// cannot be attested.
func (n AttestNeeds) For(breakGlass bool) []string {
	if breakGlass && len(n.BreakGlass) > 0 {
		return slices.Clone(n.BreakGlass)
	}
	return slices.Clone(n.Attestors)
}

// All lists every attestor that the needs name, each once.
func (n AttestNeeds) All() []string {
	all := slices.Clone(n.Attestors)
	for _, a := range n.BreakGlass {
		if !slices.Contains(all, a) {
			all = append(all, a)
		}
	}
	return all
}
