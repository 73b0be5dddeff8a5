package policy

import (
	"strings"

	"github.com/attestor-gate/attestor"
)

func (v *validator) signedBy(path string, s *SignedBy) {
	if s == nil {
		return
	}
	v.text(path+".key", s.Key)
	v.text(path+".trustedRoot", s.TrustedRoot)
	switch {
	case s.Key != "" && s.Keyless != nil:
		v.at(path, "has both key and keyless; name one")
	case s.Key == "" && s.Keyless == nil && !v.has(path+".key"):
		v.at(path, "has neither key nor keyless, so that anybody's signature would do")
	case strings.Contains(s.Key, "://") && !strings.HasPrefix(s.Key, "gcpkms://"):
		v.at(path+".key", "%q is neither a path nor gcpkms://…", clip(s.Key))
	}

	if s.Keyless == nil {
		return
	}
	k := path + ".keyless"
	v.text(k+".issuer", s.Keyless.Issuer)
	v.text(k+".subject", s.Keyless.Subject)

	// An issuer alone is every user of it: Google's or GitHub's have anybody.
	if v.has(k+".subject") == v.has(k+".subjectRegexp") {
		v.at(k, "want exactly one of subject and subjectRegexp")
	}
	v.regexp(k+".subjectRegexp", s.Keyless.SubjectRegexp)
}

func (v *validator) regexp(path, expr string) {
	v.text(path, expr)
	if _, err := anchored(expr); err != nil {
		v.at(path, "%q is not a regular expression: %v", clip(expr), err)
	}
}

// signedBy tries the expression on what no publisher is called.
func (l *linter) signedBy(path string, s *SignedBy) {
	if s.Keyless == nil || s.Keyless.SubjectRegexp == "" {
		return
	}
	if re, err := anchored(s.Keyless.SubjectRegexp); err == nil && re.MatchString("anybody@example.org") &&
		re.MatchString("https://example.org/any/thing") {
		l.d.at(path+".keyless.subjectRegexp", "matches anybody")
	}
}

func (s *SignedBy) rule() *attestor.SignedBy {
	if s == nil {
		return nil
	}
	r := &attestor.SignedBy{Key: s.Key, TrustedRoot: s.TrustedRoot, Transparency: s.Transparency}
	if s.Keyless != nil {
		r.Issuer, r.Subject, r.SubjectRegexp = s.Keyless.Issuer, s.Keyless.Subject, s.Keyless.SubjectRegexp
	}
	return r
}
