package audit

import (
	"encoding/base64"
	"encoding/json"
	"time"

	"github.com/attestor-gate/attestor"
)

// tokenVersion changes with the meaning of a pageToken. Version 1 had no field
// for it, and did not carry the instants of the list; version 2 was bound to fewer
// filters.
const tokenVersion = 3

// A pageToken is opaque to callers. It carries the place where the page before
// it ended, the instants that were fixed when the first page was listed, and the
// hash of the rest of the filter, so that a token of another list is refused.
type pageToken struct {
	Version int    `json:"v"`
	At      int64  `json:"t"` // microseconds
	ID      string `json:"i"`
	Since   *int64 `json:"s,omitempty"` // microseconds; nil: Filter.Since was zero
	Until   *int64 `json:"u,omitempty"`
	Filter  string `json:"f"`
}

// tokenOf names the place p of the list that f chooses.
func tokenOf(f Filter, p position) string {
	b, err := json.Marshal(pageToken{
		Version: tokenVersion, At: p.at, ID: p.id,
		Since: micros(f.Since), Until: micros(f.Until), Filter: fingerprint(f),
	})
	if err != nil {
		panic("audit: a page token does not encode") // strings and numbers only
	}

	return base64.RawURLEncoding.EncodeToString(b)
}

// resume reads a token. It returns the place where the next page begins, and f
// with the instants of the first page in place of its own. "" is the first page.
func resume(f Filter, token string) (Filter, position, error) {
	if token == "" {
		return f, position{}, nil
	}

	var t pageToken
	b, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil || json.Unmarshal(b, &t) != nil || t.ID == "" {
		return Filter{}, position{}, invalidToken("pageToken is not a token of this service")
	}

	if t.Version != tokenVersion {
		return Filter{}, position{}, invalidToken("pageToken was made by another version of attestor")
	}

	// Everything but the instants of a Period must be the same: pages of different
	// filters do not make one list.
	if t.Filter != fingerprint(f) {
		return Filter{}, position{}, invalidToken("pageToken belongs to a list with another filter")
	}

	// A token is not signed, and need not be: a caller who changes its instants
	// gets another period of the same list, which they may request anyway, and
	// Visible is applied to every page.
	f.Since, f.Until = instantOf(t.Since), instantOf(t.Until)
	return f, position{t.At, text(t.ID)}, nil
}

func invalidToken(msg string) error {
	return &attestor.Error{
		Kind: attestor.Invalid, Msg: msg,
		Fix: "send the token of the previous page with the same filter, or leave pageToken out for the first page",
	}
}

// fingerprint is a hash of everything that a token is bound to. Fixed instants are
// bound to as the store keeps them, to the microsecond.
func fingerprint(f Filter) string {
	f.Since, f.Until = instantOf(micros(f.Since)), instantOf(micros(f.Until))

	// 64 bits of the hash are enough: a token that fits another filter by chance shows nothing that its caller may not
	// list.
	return hashOf([]byte(f.Fingerprint()))[len("sha256:"):][:16]
}

// micros is t in the unit of the store, or nil for the zero time.
func micros(t time.Time) *int64 {
	if t.IsZero() {
		return nil
	}
	n := t.UnixMicro()
	return &n
}

// instantOf is the inverse of micros.
func instantOf(n *int64) time.Time {
	if n == nil {
		return time.Time{}
	}
	return time.UnixMicro(*n).UTC()
}
