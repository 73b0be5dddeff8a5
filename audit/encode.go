package audit

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/attestor-gate/attestor"
)

// maxBlob bounds what one blob may unpack to.
const maxBlob = 64 << 20

// A blob is content stored once, by its hash.
type blob struct {
	hash string
	data []byte
}

func hashOf(b []byte) string {
	sum := sha256.Sum256(b)
	return "sha256:" + hex.EncodeToString(sum[:])
}

// EvidenceHash is the content hash that stands in [attestor.Decision.Evidence].
func EvidenceHash(ev attestor.Evidence) (string, error) {
	b, err := json.Marshal(ev)
	if err != nil {
		return "", fmt.Errorf("encoding evidence: %w", err)
	}
	return hashOf(b), nil
}

// outline is Evidence without its large parts, which are blobs: a repeat on the
// same scan adds nothing but the outline.
type outline struct {
	Evidence attestor.Evidence `json:"evidence"` // without platforms
	Parts    []part            `json:"parts"`
	Policy   string            `json:"policy,omitempty"` // hash of the text
}

// part is one platform: its evidence without findings, and the findings.
type part struct {
	Platform string `json:"platform"`
	Findings string `json:"findings,omitempty"`
}

func (o outline) hashes() []string {
	var out []string
	for _, p := range o.Parts {
		out = append(out, p.Platform)
		if p.Findings != "" {
			out = append(out, p.Findings)
		}
	}
	if o.Policy != "" {
		out = append(out, o.Policy)
	}
	return out
}

// row is a Record as the table has it.
type row struct {
	id, body, outline string
	at                int64
	requested         string
	repository        string
	digest            string
	verdict           string
	policy            string
	policyDigest      string
	breakGlass        bool
	attested          bool     // it may have been begun
	digests           []string // of the image and of its judged children
	blobs             []blob
}

func newRow(r attestor.Record) (row, error) {
	d := r.Decision
	if d.Evidence == "" {
		hash, err := EvidenceHash(r.Evidence)
		if err != nil {
			return row{}, err
		}
		d.Evidence = hash
	}
	body, err := json.Marshal(d)
	if err != nil {
		return row{}, fmt.Errorf("encoding the decision: %w", err)
	}
	verdict, err := d.Verdict.MarshalText()
	if err != nil {
		return row{}, fmt.Errorf("encoding the verdict: %w", err)
	}
	out := row{
		id: d.ID, at: d.Time.UnixMicro(), body: string(body), requested: text(d.Image.Requested),
		repository: text(repositoryOf(d)), digest: string(d.Image.Digest), verdict: string(verdict), breakGlass: d.BreakGlass != nil,
		attested: len(d.Attestations) > 0,
	}
	if d.Policy != nil {
		out.policy, out.policyDigest = text(d.Policy.Name), string(d.Policy.Digest)
	}
	if d.Image.Digest != "" {
		out.digests = append(out.digests, string(d.Image.Digest))
	}
	for _, p := range r.Evidence.Platforms {
		if p.Digest != "" && p.Digest != d.Image.Digest {
			out.digests = append(out.digests, string(p.Digest))
		}
	}
	return out, out.split(r)
}

// split moves the large parts of the evidence into blobs.
func (r *row) split(rec attestor.Record) error {
	o := outline{Evidence: rec.Evidence, Parts: []part{}}
	o.Evidence.Platforms = nil
	for _, p := range rec.Evidence.Platforms {
		var stored part
		if len(p.Scan.Findings) > 0 {
			hash, err := r.add(p.Scan.Findings)
			if err != nil {
				return err
			}
			stored.Findings, p.Scan.Findings = hash, nil
		}
		hash, err := r.add(p)
		if err != nil {
			return err
		}
		stored.Platform = hash
		o.Parts = append(o.Parts, stored)
	}
	if rec.PolicyText != nil {
		o.Policy = hashOf(rec.PolicyText)
		r.blobs = append(r.blobs, blob{o.Policy, rec.PolicyText})
	}
	b, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encoding evidence: %w", err)
	}
	r.outline = string(b)
	return nil
}

func (r *row) add(v any) (hash string, err error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encoding evidence: %w", err)
	}
	hash = hashOf(b)
	for _, known := range r.blobs {
		if known.hash == hash {
			return hash, nil
		}
	}
	r.blobs = append(r.blobs, blob{hash, b})
	return hash, nil
}

// join is the inverse of newRow.
func join(body string, o outline, blobs map[string][]byte) (attestor.Record, error) {
	var r attestor.Record
	if err := json.Unmarshal([]byte(body), &r.Decision); err != nil {
		return attestor.Record{}, fmt.Errorf("decoding the decision: %w", err)
	}
	r.Evidence = o.Evidence
	r.Evidence.Platforms = make([]attestor.PlatformEvidence, len(o.Parts))
	for i, p := range o.Parts {
		if err := json.Unmarshal(blobs[p.Platform], &r.Evidence.Platforms[i]); err != nil {
			return attestor.Record{}, fmt.Errorf("decoding evidence: %w", err)
		}
		if p.Findings != "" {
			if err := json.Unmarshal(blobs[p.Findings], &r.Evidence.Platforms[i].Scan.Findings); err != nil {
				return attestor.Record{}, fmt.Errorf("decoding findings: %w", err)
			}
		}
	}
	if o.Policy != "" {
		r.PolicyText = blobs[o.Policy]
	}
	return r, nil
}

// repositoryOf is canonical: a Decision's reference is.
func repositoryOf(d attestor.Decision) string {
	ref, err := attestor.ParseReference(d.Image.Reference)
	if err != nil {
		return ""
	}
	return ref.Repository()
}

// text is what both databases store: valid UTF-8 without NUL.
func text(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
