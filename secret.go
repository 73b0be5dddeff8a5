package attestor

import "strings"

// A Secret is one report of a credential in the image's files. It says which kind it is and where it lies; its value is
// never read, so that it cannot be stored, logged or shown.
type Secret struct {
	Kind   string `json:"kind"`             // as Container Analysis names it, without SECRET_KIND_: GCP_SERVICE_ACCOUNT_KEY
	Status string `json:"status"`           // [SecretValid], [SecretInvalid], [SecretUnknown], or another word of a later version
	Path   string `json:"path,omitempty"`   // of the file; "" if not reported
	DiffID Digest `json:"diffId,omitempty"` // of the layer; "" if not reported
	Note   string `json:"note"`             // projects/P/notes/N that it was reported under
}

// The statuses of secrets. Whoever issued a secret says whether it still works; most kinds are never asked about.
const (
	SecretValid   = "VALID"
	SecretInvalid = "INVALID"
	SecretUnknown = "UNKNOWN"
)

// StatusKnown reports whether this version knows the status.
func (s *Secret) StatusKnown() bool {
	return s.Status == SecretValid || s.Status == SecretInvalid || s.Status == SecretUnknown
}

// Place is the path for people.
func (s *Secret) Place() string {
	if s.Path == "" {
		return "an unreported place"
	}
	return s.Path
}

// Subject is the secret's kind and place, which distinguish it from others in reasons.
func (s *Secret) Subject() string { return strings.TrimSpace(s.Kind + " " + s.Path) }

// An UnreadKind is a kind of occurrence about the image that this version cannot judge.
type UnreadKind struct {
	Kind  string `json:"kind"` // AI_SKILL_ANALYSIS, or its number where this version has no name for it
	Count int    `json:"count"`
}
