package audit

import (
	"encoding/base64"
	"encoding/json"

	"github.com/attestor-gate/attestor"
)

// pageToken is opaque to callers. It carries the filter's hash, so that a token
// of another list is refused rather than answered with nonsense.
type pageToken struct {
	At     int64  `json:"t"`
	ID     string `json:"i"`
	Filter string `json:"f"`
}

func (f Filter) token(p position) string {
	b, err := json.Marshal(pageToken{At: p.at, ID: p.id, Filter: f.fingerprint()})
	if err != nil {
		panic("audit: a page token does not encode") // two strings and a number
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func (f Filter) parseToken(s string) (position, error) {
	if s == "" {
		return position{}, nil
	}
	var t pageToken
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || json.Unmarshal(b, &t) != nil || t.ID == "" || t.Filter != f.fingerprint() {
		return position{}, &attestor.Error{Kind: attestor.Invalid, Msg: "pageToken is not one of this list", Fix: "send the token of the page before, with the same filter"}
	}
	return position{t.At, text(t.ID)}, nil
}

func (f Filter) fingerprint() string {
	b, err := json.Marshal(struct {
		Image, Repository, Verdict, Policy, Since, Until string
		BreakGlass                                       bool
	}{f.Image, f.Repository, string(f.Verdict), f.Policy, f.Since.UTC().String(), f.Until.UTC().String(), f.BreakGlass})
	if err != nil {
		panic("audit: a filter does not encode") // strings only
	}
	return hashOf(b)[len("sha256:"):][:16]
}
