package attestor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"
)

// A RevocationKind says what led to a revocation.
type RevocationKind string

// The kinds.
const (
	RevokedByPerson   RevocationKind = "person"   // somebody asked for it
	RevokedAtEnd      RevocationKind = "expired"  // an override reached its end
	RevokedByJudgment RevocationKind = "rejudged" // the image was judged again
)

// A Revocation asks for the deletion of the attestations that this gate made of
// an image.
type Revocation struct {
	Image     Image
	Kind      RevocationKind // "": RevokedByPerson
	Reason    string         // of 10 to 1000 characters; recorded
	Caller    CallerRef
	RequestID string

	// Override is the decision whose override ends. Required for RevokedAtEnd.
	Override string

	// Admission is the decision that had admitted the image when it was judged again,
	// Judgment the one that refuses it, and Cause why. Required for RevokedByJudgment.
	Admission string
	Judgment  string
	Cause     Cause
}

// The length of a revocation's reason, in characters and without spaces around it.
const (
	MinRevocationReason = 10
	MaxRevocationReason = 1000
)

// A RevocationRecord is the record of a revocation. It is no decision: the
// image's last verdict stays what it was.
type RevocationRecord struct {
	ID       string         `json:"id"`
	Time     time.Time      `json:"time"`
	Emulated bool           `json:"emulated"`
	Kind     RevocationKind `json:"kind"`
	Image    Image          `json:"image"`
	Reason   string         `json:"reason"`
	Cause    Cause          `json:"cause,omitempty"`    // of RevokedByJudgment
	Judgment string         `json:"judgment,omitempty"` // the decision that refuses the image now
	Override string         `json:"override,omitempty"` // the decision whose override ended
	// Admitted are the decisions that had admitted the image. A recorder sets them.
	Admitted     []string      `json:"admitted"`
	Attestations []Attestation `json:"attestations"`        // that were deleted
	Summaries    []Summary     `json:"summaries,omitempty"` // verification summaries that were deleted
	Left         []LeftSummary `json:"left,omitempty"`      // those that the registry refused to delete
	// Kept are digests whose attestations have another ground and stay. A recorder
	// sets them.
	Kept      []Digest  `json:"kept,omitempty"`
	Caller    CallerRef `json:"caller"`
	RequestID string    `json:"requestId,omitempty"`
}

// A RecordedRevocation is a finished revocation, with its entry in the record's log.
type RecordedRevocation struct {
	RevocationRecord
	Log *LogEntry `json:"log,omitempty"` // nil: it is older than the log, and not entered yet
}

// Revocations keeps the records of revocations. When its methods return nil, what
// they were given has been made durable.
type Revocations interface {
	// BeginRevocation records what is about to be deleted. It returns the record with
	// the decisions that had admitted the image and, but for RevokedByPerson, with the
	// digests that have another ground.
	//
	// For RevokedAtEnd it returns the record that was begun before, if there is one,
	// and an [Error] of kind NotFound where the override is closed, or the image is
	// just being attested. For RevokedByJudgment it returns NotFound where another
	// decision has admitted the image since, or is just doing so.
	BeginRevocation(ctx context.Context, r RevocationRecord) (RevocationRecord, error)
	// FinishRevocation records what was deleted. Finishing again is no error, and
	// changes nothing.
	FinishRevocation(ctx context.Context, r RevocationRecord) error
}

// A Deletion deletes what this gate attested to the image of a revocation, of an
// index to its children too, but for the digests to be kept. It returns what it
// deleted, on error too. It can be repeated.
type Deletion func(ctx context.Context, r RevocationRecord) (Deleted, error)

// Deleted is what a [Deletion] did.
type Deleted struct {
	Attestations []Attestation
	Summaries    []Summary
	Left         []LeftSummary // there still, since a registry refuses their deletion: asking again changes nothing
}

// RevokerConfig holds what a Revoker is made of. Everything but Emulated is
// required.
type RevokerConfig struct {
	Record   Revocations
	Remove   Deletion
	NewID    func() string
	Now      func() time.Time
	Emulated bool
}

// A Revoker deletes attestations and records that. It is safe for concurrent use.
type Revoker struct{ c RevokerConfig }

// NewRevoker returns a Revoker, or an error that says that something is missing.
func NewRevoker(c RevokerConfig) (*Revoker, error) {
	if c.Record == nil || c.Remove == nil || c.NewID == nil || c.Now == nil {
		return nil, errors.New("making a revoker: record, deletion, ids or clock are missing")
	}
	return &Revoker{c: c}, nil
}

// Revoke deletes the attestations of an image. The revocation is recorded before
// anything is deleted, so that a crash between the two is completed by
// [Revoker.Finish], and again with what was deleted. Revoking again is no error.
//
// Whether the caller may revoke is decided before: by a service's identities, or
// by the operating system. On error, the record has what was deleted all the same.
func (v *Revoker) Revoke(ctx context.Context, r Revocation) (RevocationRecord, error) {
	if r.Kind == "" {
		r.Kind = RevokedByPerson
	}
	r.Reason = strings.TrimSpace(r.Reason)
	if err := r.check(); err != nil {
		return RevocationRecord{}, err
	}

	record, err := v.c.Record.BeginRevocation(ctx, RevocationRecord{
		ID: v.c.NewID(), Time: v.c.Now().UTC(), Emulated: v.c.Emulated, Kind: r.Kind, Image: r.Image, Reason: r.Reason,
		Cause: r.Cause, Judgment: r.Judgment, Override: r.Override, Admitted: admittedBy(r.Admission),
		Attestations: []Attestation{}, Caller: r.Caller, RequestID: r.RequestID,
	})
	if err != nil {
		return RevocationRecord{}, err
	}
	return v.Finish(ctx, record)
}

// Finish deletes what a recorded revocation is about and finishes its record. It
// can be repeated: until all is deleted, the record stays begun.
func (v *Revoker) Finish(ctx context.Context, r RevocationRecord) (RevocationRecord, error) {
	deleted, err := v.c.Remove(ctx, r)
	r.Attestations = append([]Attestation{}, deleted.Attestations...) // never null in JSON
	r.Summaries, r.Left = deleted.Summaries, deleted.Left

	// The record stays begun, so that the rest is deleted later.
	if err != nil {
		return r, err
	}
	return r, v.c.Record.FinishRevocation(ctx, r)
}

// check refuses a revocation that its record could not explain.
func (r Revocation) check() error {
	switch {
	case r.Image.IsZero():
		return &Error{Kind: Invalid, Msg: "a revocation needs an image by digest"}
	case utf8.RuneCountInString(r.Reason) < MinRevocationReason:
		return &Error{
			Kind: Invalid, Msg: fmt.Sprintf("a revocation needs a reason of at least %d characters",
				MinRevocationReason),
			Fix: "say why; it will be read in the audit report",
		}
	case utf8.RuneCountInString(r.Reason) > MaxRevocationReason:
		return &Error{Kind: Invalid, Msg: fmt.Sprintf("the reason is longer than %d characters", MaxRevocationReason)}
	}

	switch r.Kind {
	case RevokedByPerson:
		return nil
	case RevokedAtEnd:
		if r.Override != "" {
			return nil
		}
	case RevokedByJudgment:
		if r.Admission != "" && r.Judgment != "" && r.Cause != "" {
			return nil
		}
	}
	return fmt.Errorf("revoking %s: the kind %q lacks what it is about", r.Image, r.Kind)
}

// AsRevocation returns the revocation that a decision of an earlier version
// records. Those versions wrote a revocation as a denial that no policy made, with
// the reason of the code REVOKED.
func AsRevocation(d Decision) (RevocationRecord, bool) {
	if d.Policy != nil {
		return RevocationRecord{}, false
	}

	img, err := ParseImage(d.Image.Reference)
	if err != nil {
		return RevocationRecord{}, false
	}
	for _, c := range d.Checks {
		for _, reason := range c.Reasons {
			if c.Name != CheckAttest || reason.Code != CodeRevoked {
				continue
			}
			kind, about := oldKind(reason.Message)
			r := RevocationRecord{
				ID: d.ID, Time: d.Time, Emulated: d.Emulated, Kind: kind, Image: img, Reason: reason.Message,
				Admitted: []string{}, Attestations: d.Attestations, Caller: d.Caller, RequestID: d.RequestID,
			}
			switch kind {
			case RevokedAtEnd:
				r.Override = about
			case RevokedByJudgment:
				r.Cause, r.Judgment = CauseFinding, about
			}
			return r, true
		}
	}
	return RevocationRecord{}, false
}

// oldKind reads the kind of an old revocation from its reason, whose form the gate
// wrote for all but a person: "decision ID: the override by …", "decision ID:
// found after admission by …". A person may have written the same, who is then
// taken for the gate; caller and reason are shown in any case.
func oldKind(reason string) (kind RevocationKind, decision string) {
	rest, ok := strings.CutPrefix(reason, "decision ")
	id, what, found := strings.Cut(rest, ": ")
	switch {
	case !ok || !found || strings.ContainsAny(id, " \t\n"):
		return RevokedByPerson, ""
	case strings.HasPrefix(what, "the override by "):
		return RevokedAtEnd, id
	case strings.HasPrefix(what, "found after admission by "):
		return RevokedByJudgment, id
	}
	return RevokedByPerson, ""
}

// admittedBy is a list of one decision, or an empty one; never null in JSON.
func admittedBy(decision string) []string {
	if decision == "" {
		return []string{}
	}
	return []string{decision}
}
