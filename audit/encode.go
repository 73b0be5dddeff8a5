package audit

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"hash"
	"io"
	"strings"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/event"
	"github.com/attestor-gate/attestor/internal/packed"
)

// maxBlob is the size of a blob, in bytes before compression.
const maxBlob = 64 << 20

// A blob is content stored once, by its hash.
type blob struct {
	hash   string
	data   []byte
	size   int  // of the content
	zipped bool // data is compressed
}

func hashOf(b []byte) string {
	return string(attestor.DigestOf(b))
}

// evidenceHash returns the content hash for [attestor.Decision.Evidence]. last may be nil.
func evidenceHash(ev attestor.Evidence, last *lastFindings) (string, error) {
	h := sha256.New()
	if err := ev.EncodeUsing(h, last.write); err != nil {
		return "", err
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil)), nil
}

// An outline is Evidence without its large parts, which are blobs. Another
// decision on the same scan adds only an outline.
type outline struct {
	Evidence attestor.Evidence `json:"evidence"` // without platforms
	Parts    []part            `json:"parts"`
	Policy   string            `json:"policy,omitempty"` // hash of the text
}

// A part is one platform: the hashes of its evidence without findings, and of the
// findings, "" for none.
type part struct {
	Platform string `json:"platform"`
	Findings string `json:"findings,omitempty"`
}

// hashes lists the blobs that the outline refers to.
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

// A row is a Record as it is stored.
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
	attested          bool     // there are attestations, so that Begin may have written the row
	digests           []string // of the image and of its platforms' manifests
	evidence          []part   // of outline
	blobs             []blob
	ground            ground
	events            []event.Event // about it, published once it is finished
	columns           [3]any        // see [Store.columns]
}

// newRow encodes a record. Findings come compressed out of it, by c. last may be nil.
func newRow(r attestor.Record, c *packed.Codec, last *lastFindings) (row, error) {
	d := r.Decision
	if d.Evidence == "" {
		hash, err := evidenceHash(r.Evidence, last)
		if err != nil {
			return row{}, err
		}
		d.Evidence = hash
	}

	// Where the log has the decision, and what became of it since, is no part of what
	// the log commits to.
	d.Log, d.OverrideState, d.Revoked = nil, nil, nil

	body, err := json.Marshal(d)
	if err != nil {
		return row{}, fmt.Errorf("encoding the decision: %w", err)
	}
	verdict, err := d.Verdict.MarshalText()
	if err != nil {
		return row{}, fmt.Errorf("encoding the verdict: %w", err)
	}

	out := row{
		id: d.ID, at: d.Time.UnixMicro(), body: string(body),
		requested: text(d.Image.Requested), repository: text(repositoryOf(d)), digest: string(d.Image.Digest),
		verdict: string(verdict), breakGlass: d.BreakGlass != nil, attested: len(d.Attestations) > 0,
		ground: groundOf(d),
	}
	if d.Policy != nil {
		out.policy, out.policyDigest = text(d.Policy.Name), string(d.Policy.Digest)
	}

	// A platform's digest finds the decision on its index too.
	if d.Image.Digest != "" {
		out.digests = append(out.digests, string(d.Image.Digest))
	}
	for _, p := range r.Evidence.Platforms {
		if p.Digest != "" && p.Digest != d.Image.Digest {
			out.digests = append(out.digests, string(p.Digest))
		}
	}
	return out, out.split(r, c, last)
}

// split moves the large parts of the evidence into blobs.
func (r *row) split(rec attestor.Record, c *packed.Codec, last *lastFindings) error {
	o := outline{Evidence: rec.Evidence, Parts: []part{}}
	o.Evidence.Platforms = nil

	for _, p := range rec.Evidence.Platforms {
		var stored part

		// p is a copy: clearing its findings leaves the caller's evidence as it is.
		if len(p.Scan.Findings) > 0 {
			b, err := last.encode(p.Scan.Findings, c)
			if err != nil {
				return fmt.Errorf("encoding evidence: %w", err)
			}
			stored.Findings, p.Scan.Findings = r.put(b), nil
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
		r.put(blob{hash: o.Policy, data: rec.PolicyText, size: len(rec.PolicyText)})
	}

	b, err := json.Marshal(o)
	if err != nil {
		return fmt.Errorf("encoding evidence: %w", err)
	}
	r.outline, r.evidence = string(b), o.Parts
	return nil
}

// lastFindings are the findings that were encoded last, of records that follow each other and have the same list.
// Its methods may be called on nil, which remembers nothing.
type lastFindings struct {
	first *attestor.Vulnerability
	n     int
	json  []byte // nil: not encoded
	blob  blob   // its hash is "": not compressed
}

// of makes findings the last ones, unless they are.
func (l *lastFindings) of(findings []attestor.Vulnerability) error {
	if l.first == &findings[0] && l.n == len(findings) {
		return nil
	}

	var b bytes.Buffer
	if err := attestor.EncodeFindings(&b, findings); err != nil {
		return err
	}
	*l = lastFindings{first: &findings[0], n: len(findings), json: b.Bytes()}
	return nil
}

// write writes what [attestor.EncodeFindings] does.
func (l *lastFindings) write(w io.Writer, findings []attestor.Vulnerability) error {
	if l == nil || len(findings) == 0 {
		return attestor.EncodeFindings(w, findings)
	}
	if err := l.of(findings); err != nil {
		return err
	}
	_, err := w.Write(l.json)
	return err
}

// encode encodes findings, of which there are some.
func (l *lastFindings) encode(findings []attestor.Vulnerability, c *packed.Codec) (blob, error) {
	z := zipper{codec: c, hash: sha256.New()}
	if l == nil {
		if err := attestor.EncodeFindings(&z, findings); err != nil {
			return blob{}, err
		}
		return z.blob(), nil
	}

	if err := l.of(findings); err != nil {
		return blob{}, err
	}
	if l.blob.hash == "" {
		if _, err := z.Write(l.json); err != nil {
			return blob{}, err
		}
		l.blob = z.blob()
	}
	return l.blob, nil
}

// add appends v as a blob, unless the row has it already.
func (r *row) add(v any) (digest string, err error) {
	b, err := json.Marshal(v)
	if err != nil {
		return "", fmt.Errorf("encoding evidence: %w", err)
	}
	return r.put(blob{hash: hashOf(b), data: b, size: len(b)}), nil
}

// put appends a blob, unless the row has it already.
func (r *row) put(b blob) (digest string) {
	for _, known := range r.blobs {
		if known.hash == b.hash {
			return b.hash
		}
	}
	r.blobs = append(r.blobs, b)
	return b.hash
}

// zipChunk is how many bytes of content are compressed at a time. Frames of zstd may follow each other (RFC 8878, 3):
// "Zstandard compressed data is made up of one or more frames".
const zipChunk = 256 << 10

// A zipper hashes and compresses what is written to it. The findings of one image can take ten megabytes: only what is
// compressed of them is held.
type zipper struct {
	codec *packed.Codec
	hash  hash.Hash
	plain []byte
	out   []byte
	size  int
}

func (z *zipper) Write(p []byte) (int, error) {
	z.hash.Write(p)
	z.size += len(p)
	if z.plain = append(z.plain, p...); len(z.plain) >= zipChunk {
		z.flush()
	}
	return len(p), nil
}

func (z *zipper) flush() {
	z.out = z.codec.Bytes(z.out, z.plain)
	z.plain = z.plain[:0]
}

func (z *zipper) blob() blob {
	if len(z.plain) > 0 {
		z.flush()
	}
	return blob{hash: "sha256:" + hex.EncodeToString(z.hash.Sum(nil)), data: z.out, size: z.size, zipped: true}
}

// join is the inverse of newRow. blobs has every blob of the outline.
func join(body string, o outline, blobs map[string][]byte) (attestor.Record, error) {
	var r attestor.Record
	if err := json.Unmarshal([]byte(body), &r.Decision); err != nil {
		return attestor.Record{}, fmt.Errorf("decoding the decision: %w", err)
	}

	// A blob that is missing does not decode, and so is an error: a platform
	// without its findings would look clean.
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

// repositoryOf returns the canonical repository of the image, or "" where the
// request had no reference that can be parsed.
func repositoryOf(d attestor.Decision) string {
	ref, err := attestor.ParseReference(d.Image.Reference)
	if err != nil {
		return ""
	}
	return ref.Repository()
}

// text replaces invalid UTF-8 and NUL. PostgreSQL, 8.3: "The character with the
// code zero cannot be stored".
func text(s string) string {
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}
