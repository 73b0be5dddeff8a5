package attestor

import (
	"log/slog"
	"time"
)

// A Decision is what callers are answered and what is recorded, in one type.
type Decision struct {
	ID            string             `json:"id"`
	Time          time.Time          `json:"time"`
	DurationMS    int64              `json:"durationMs"`
	Emulated      bool               `json:"emulated"`
	Image         DecidedImage       `json:"image"`
	Verdict       Outcome            `json:"verdict"`
	DryRun        bool               `json:"dryRun"` // asked for, or the policy's mode
	IndexAttested bool               `json:"indexAttested"`
	BreakGlass    *BreakGlass        `json:"breakGlass"`
	Policy        *PolicyRef         `json:"policy"` // nil: none governs the image
	Platforms     []PlatformSummary  `json:"platforms"`
	Checks        []Check            `json:"checks"`
	Attestations  []Attestation      `json:"attestations"`
	Summaries     []Summary          `json:"summaries,omitempty"` // verification summaries that stand
	Deploy        []string           `json:"deploy,omitempty"`    // the references that may be deployed, where that is not simply image.reference
	Caller        CallerRef          `json:"caller"`
	Labels        map[string]string  `json:"labels,omitempty"`
	RequestID     string             `json:"requestId,omitempty"`
	Evidence      string             `json:"evidence,omitempty"` // content hash of the recorded evidence
	Stages        map[string]float64 `json:"stages,omitempty"`   // milliseconds by stage

	// Log says where the record has the decision. It and the members after it are no
	// part of what is recorded, so that the bytes before it are those that the log
	// commits to.
	Log *LogEntry `json:"log,omitempty"`

	// OverrideState is what became of the override that the decision granted, and Revoked
	// the last revocation of what it admitted. A record sets them when it is read.
	OverrideState *OverrideState    `json:"overrideState,omitempty"`
	Revoked       *RevocationRecord `json:"revoked,omitempty"`
}

// An OverrideState is what became of an override.
type OverrideState struct {
	Open    bool       `json:"open"`              // its attestations stand by it alone
	Overdue bool       `json:"overdue,omitempty"` // it should have ended
	Closed  Closing    `json:"closed,omitempty"`
	Time    *time.Time `json:"time,omitempty"` // when it was closed
	By      string     `json:"by,omitempty"`   // the decision or revocation that closed it
}

// A LogEntry says where the record's transparency log has a decision.
type LogEntry struct {
	Index  int64  `json:"index"`            // of the entry, from 0 on
	Origin string `json:"origin,omitempty"` // the log's name; "" where its checkpoints are not signed
	Proof  string `json:"proof,omitempty"`  // c2sp.org/tlog-proof; "" until a checkpoint that has the entry is signed

	// Changed says how the stored decision differs from what was recorded; "" for not at
	// all. A decision with it says nothing else that can be relied on.
	Changed string `json:"changed,omitempty"`
}

// CallerRef is who asked.
type CallerRef struct {
	Subject string `json:"subject"`
	Issuer  string `json:"issuer"`
}

// DecidedImage is what was asked about and what it was resolved to.
type DecidedImage struct {
	Requested string `json:"requested"`
	Reference string `json:"reference"` // by digest, unless it could not be resolved
	Digest    Digest `json:"digest"`
	MediaType string `json:"mediaType"`
	Artifact  string `json:"artifact,omitempty"` // what it is instead of an image, such as "signature"
}

// PlatformSummary is the short form of [PlatformEvidence] in answers.
type PlatformSummary struct {
	Child
	User User        `json:"user"`
	Base BaseSummary `json:"base"`
	Scan ScanSummary `json:"scan"`
}

// BaseSummary is the short form of [Base].
type BaseSummary struct {
	Name      string `json:"name,omitempty"`
	Reference string `json:"reference,omitempty"`
	Evidence  Level  `json:"evidence"`
	Layers    int    `json:"layers"`
	Signer    string `json:"signer,omitempty"`
	Current   bool   `json:"current"`
	Behind    string `json:"behind,omitempty"` // whole days since its tag moved on: "0d"
}

// ScanSummary is the short form of [Scan].
type ScanSummary struct {
	State    ScanState        `json:"state"`
	Finished *time.Time       `json:"finished,omitempty"`
	Counts   map[Severity]int `json:"counts"`
	Fixable  int              `json:"fixable"`
	Secrets  int              `json:"secrets,omitempty"` // reported, whatever their status
}

// An Attestation is one that stands for a digest under an attestor, verified
// with the attestor's keys.
type Attestation struct {
	Attestor    string    `json:"attestor"`
	Note        string    `json:"note"`
	Occurrence  string    `json:"occurrence"`
	Digest      Digest    `json:"digest"`
	PublicKeyID string    `json:"publicKeyId"`
	Created     bool      `json:"created"` // by this decision; false: it stood already
	Since       time.Time `json:"since,omitzero"`
}

// An Answer is a Decision for machines: HTTP status and exit
// code are two columns of one table.
type Answer struct {
	HTTPStatus int
	ExitCode   int
	RetryAfter time.Duration // with 503
}

// Exit codes of the command line.
const (
	ExitPass  = 0
	ExitDeny  = 1
	ExitUsage = 2
	ExitError = 3
)

// defaultRetryAfter is the wait for a reason to ask again that names none.
const defaultRetryAfter = 10 * time.Second

// Answer reads the table of the contract. An outage is never 200.
func (d Decision) Answer() Answer {
	// The order decides: an override that signed comes before the denial that it overrides.
	asked := d.DryRun && (d.Policy == nil || d.Policy.Mode == Enforce) // dry run by request, not by policy
	switch {
	case d.BreakGlass != nil && d.attested():
		return Answer{HTTPStatus: 200, ExitCode: ExitPass}
	case d.Verdict == Pass:
		return Answer{HTTPStatus: 200, ExitCode: ExitPass}
	// 503 only where waiting is all that is needed: a client that repeats anything else would never end.
	case d.Verdict == Undecided && d.mayChange():
		return Answer{HTTPStatus: 503, ExitCode: ExitError, RetryAfter: d.retryAfter()}
	case d.Verdict == Undecided:
		return Answer{HTTPStatus: 502, ExitCode: ExitError}
	// The caller asked what would be decided, and gets it: the exit code has the denial.
	case asked:
		return Answer{HTTPStatus: 200, ExitCode: ExitDeny}
	case d.DryRun:
		return Answer{HTTPStatus: 200, ExitCode: ExitPass}
	}
	return Answer{HTTPStatus: 422, ExitCode: ExitDeny}
}

// attested reports whether signing was tried and succeeded in full.
func (d Decision) attested() bool {
	for _, c := range d.Checks {
		if c.Name == CheckAttest {
			// A pass without an attestation would be an override that nothing enforces.
			return c.Status == StatusPass && len(d.Attestations) > 0
		}
	}
	return false
}

// mayChange reports whether asking again later is all that is needed: every
// refusal is one that time may lift.
func (d Decision) mayChange() bool {
	refusals := d.Refusals()
	for _, r := range refusals {
		if !r.Code.Retry() && r.RetryAfter <= 0 {
			return false
		}
	}
	return len(refusals) > 0
}

// retryAfter is the longest time that a refusal asks to wait: before it, asking
// again could not turn out otherwise.
func (d Decision) retryAfter() time.Duration {
	var longest time.Duration
	for _, r := range d.Refusals() {
		after := time.Duration(r.RetryAfter) * time.Second
		if after <= 0 {
			after = defaultRetryAfter
		}
		longest = max(longest, after)
	}
	return longest
}

// Refusals lists the reasons that refuse, of every check. Remarks beside them are not among them.
func (d Decision) Refusals() []Reason {
	var out []Reason
	for _, c := range d.Checks {
		out = append(out, c.DecidingReasons()...)
	}
	return out
}

// LogAttrs is the fixed projection that may be logged: no labels, names,
// owners or free text. The caller's keyed hash is the logger's to add.
func (d Decision) LogAttrs() []slog.Attr {
	seen := map[Code]bool{}
	codes := []string{}
	for _, r := range d.Refusals() {
		if !seen[r.Code] {
			seen[r.Code] = true
			codes = append(codes, string(r.Code))
		}
	}

	verdict, _ := d.Verdict.MarshalText()
	attrs := []slog.Attr{
		slog.String("decision_id", d.ID),
		slog.String("verdict", string(verdict)),
		slog.String("image_digest", string(d.Image.Digest)),
		slog.Any("reason_codes", codes),
		slog.Int64("duration_ms", d.DurationMS),
		slog.Bool("dry_run", d.DryRun),
		slog.Bool("break_glass", d.BreakGlass != nil),
	}
	if d.Policy != nil {
		attrs = append(attrs, slog.String("policy_digest", string(d.Policy.Digest)))
	}
	return attrs
}
