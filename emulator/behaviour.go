package emulator

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// Uniqueness is what makes an attestation a duplicate, answered with
// ALREADY_EXISTS. The live service's rule is not documented.
type Uniqueness int

const (
	// UniqueNoteAndResource is the strictest: one attestation per note and
	// resource_uri, whatever it says.
	UniqueNoteAndResource Uniqueness = iota
	// UniqueNoteResourceAndPayload allows another with a different payload.
	UniqueNoteResourceAndPayload
	// UniqueNone never refuses.
	UniqueNone
)

// String is the name a flag takes.
func (u Uniqueness) String() string {
	switch u {
	case UniqueNoteAndResource:
		return "note+resource"
	case UniqueNoteResourceAndPayload:
		return "note+resource+payload"
	case UniqueNone:
		return "none"
	default:
		return fmt.Sprintf("Uniqueness(%d)", int(u))
	}
}

// ParseUniqueness reads "none", "note+resource" or "note+resource+payload".
func ParseUniqueness(s string) (Uniqueness, error) {
	// The names are those that String prints, so that both ways stay the same.
	for _, u := range []Uniqueness{UniqueNoteAndResource, UniqueNoteResourceAndPayload, UniqueNone} {
		if s == u.String() {
			return u, nil
		}
	}
	return 0, fmt.Errorf("parsing attestation uniqueness %q: want none, note+resource or note+resource+payload", s)
}

// Behaviour is how the emulator acts where the live services leave room, or
// where a test wants them at their worst. The zero value is the strictest
// that works.
type Behaviour struct {
	// Uniqueness of attestations per note.
	Uniqueness Uniqueness
	// RefuseUpdates answers UpdateOccurrence with PERMISSION_DENIED.
	RefuseUpdates bool
	// RefuseCreates answers every creation of occurrences with PERMISSION_DENIED.
	RefuseCreates bool
	// RefuseDeletes answers DeleteOccurrence with PERMISSION_DENIED.
	RefuseDeletes bool
	// RefuseBatches answers BatchCreateOccurrences with UNIMPLEMENTED.
	RefuseBatches bool
	// PartialBatches is how many occurrences of a batch are stored; one that has more
	// fails with INVALID_ARGUMENT after that, as the open-source server reports what
	// its storage could not do. 0: a batch is stored whole or not at all.
	PartialBatches int
	// RefuseUnions answers a list whose filter has OR between resources with
	// INVALID_ARGUMENT.
	RefuseUnions bool
	// ListLag is how long a new occurrence stays out of lists.
	ListLag time.Duration
	// EmptyPages makes every n-th page of occurrences an empty one with a
	// token, as the live service may; 0 never, 1 before every full page.
	EmptyPages int
	// Unreachable locations are reported by lists of whole projects that ask for
	// partial success, and fail those that do not.
	Unreachable []string
	// NoProviderNotes refuses occurrences for notes of Google's provider
	// projects (goog-*, verified-builder) that nobody created. By default they
	// exist, as they do in the live service.
	NoProviderNotes bool
	// Denied permissions: TestIamPermissions leaves them out, and calls that
	// need them are PERMISSION_DENIED. All others are granted.
	Denied []Denial
	// EnforceIAM lets the stored IAM policies decide: a call needs a binding on its resource, or above it, that has the
	// caller and a role with the permission. The caller is what its bearer token says; the token "owner" may do all.
	EnforceIAM bool
	// Quotas limit calls; beyond them they are RESOURCE_EXHAUSTED.
	Quotas []Quota
}

// Quota is how many calls of a method are answered in a time.
type Quota struct {
	// Method is the rpc's name as in [Fault]; "" is every method, together.
	Method string
	// Limit is how many calls each Per, which starts with the first of them.
	Limit int
	Per   time.Duration
}

// Denial takes one permission away.
type Denial struct {
	// Permission such as "cloudkms.cryptoKeyVersions.useToSign".
	Permission string
	// Resource is the resource, or a parent of it; "" is every resource.
	Resource string
}

func (b Behaviour) validate() error {
	if b.Uniqueness < UniqueNoteAndResource || b.Uniqueness > UniqueNone {
		return fmt.Errorf("checking emulator behaviour: unknown %v", b.Uniqueness)
	}
	if b.ListLag < 0 || b.EmptyPages < 0 || b.PartialBatches < 0 {
		return fmt.Errorf(
			"checking emulator behaviour: list lag %v, empty pages %d and partial batches %d must not be negative",
			b.ListLag,
			b.EmptyPages,
			b.PartialBatches,
		)
	}

	for _, q := range b.Quotas {
		if q.Limit < 1 || q.Per <= 0 {
			return fmt.Errorf("checking emulator behaviour: a quota of %d per %v admits nothing", q.Limit, q.Per)
		}
	}

	return nil
}

func (b Behaviour) denies(permission, resource string) bool {
	return slices.ContainsFunc(b.Denied, func(d Denial) bool {
		return d.Permission == permission &&
			(d.Resource == "" || d.Resource == resource || strings.HasPrefix(resource, d.Resource+"/"))
	})
}

// SetBehaviour replaces the behaviour, from the next call on. It panics on a
// behaviour that New would refuse.
func (e *Emulator) SetBehaviour(b Behaviour) {
	if err := b.validate(); err != nil {
		panic("emulator: " + err.Error())
	}

	// The caller may go on changing its slices.
	b.Denied, b.Unreachable, b.Quotas = slices.Clone(b.Denied), slices.Clone(b.Unreachable), slices.Clone(b.Quotas)
	e.behaviourMu.Lock()
	defer e.behaviourMu.Unlock()
	e.behaviour = b
}

// Behaviour is the one in force.
func (e *Emulator) Behaviour() Behaviour {
	e.behaviourMu.RLock()
	defer e.behaviourMu.RUnlock()
	return e.behaviour
}
