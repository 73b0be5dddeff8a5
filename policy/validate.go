package policy

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/attestor-gate/attestor"
)

// validator finds what single values do not show: malformed names, empty
// lists, contradictions.
type validator struct {
	*decoder
	doc   *Document
	rules []rule
}

func (v *validator) all() {
	s := &v.doc.Spec
	v.header()
	v.images(s)
	v.scope(s.Scope)
	v.base(&s.Base)
	v.user(&s.User)
	v.vulnerabilities(&s.Vulnerabilities)
	v.provenance(s.Provenance)
	v.ruleList(s.Rules)
	v.exceptionList(s)
	v.checks(s)
	v.attest(s)
	v.breakGlass(s.BreakGlass)
	if !s.demands() {
		v.at("spec", "demands nothing: no base, no user, no scan, no directory, no provenance and no rule")
	}
}

// demands reports whether there is at least one thing that could speak for an
// image.
func (s *Spec) demands() bool {
	return s.Base.Required || s.User.NonRoot || s.Vulnerabilities.Scan.required() || s.Provenance != nil ||
		len(s.Rules) > 0 || s.Scope != nil
}

func (v *validator) header() {
	for _, f := range []struct{ path, got, want string }{
		{"apiVersion", v.doc.APIVersion, APIVersion}, {"kind", v.doc.Kind, Kind},
	} {
		if v.has(f.path) && f.got != f.want {
			v.at(f.path, "%q is not known: want %s", clip(f.got), f.want)
		}
	}
	v.match("metadata.name", v.doc.Metadata.Name, nameForm, "lower-case letters, digits and hyphens, at most 63")
}

// The forms of names.
var (
	nameForm     = regexp.MustCompile(`\A[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\z`)
	attestorForm = regexp.MustCompile(`\Aprojects/[^/\s]+/attestors/[^/\s]+\z`)
	noteForm     = regexp.MustCompile(`\Aprojects/[^/\s]+/notes/[^/\s]+\z`)
	projectForm  = regexp.MustCompile(`\A([a-z0-9.-]+:)?[a-z][a-z0-9-]{1,61}[a-z0-9]\z`)
	vulnForm     = regexp.MustCompile(`\A[A-Z][A-Z0-9]*(-[A-Za-z0-9.:_]+)+\z`)
	platformForm = regexp.MustCompile(`\A[a-z0-9]+/[a-z0-9_]+(/[a-z0-9_.]+)?\z`)
	tagForm      = regexp.MustCompile(`\A[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}\z`)
)

// match leaves alone what is reported as missing already.
func (v *validator) match(path, got string, re *regexp.Regexp, want string) {
	if v.has(path) && !re.MatchString(got) {
		v.at(path, "%q is malformed: want %s", clip(got), want)
	}
}

func (v *validator) matchAll(path string, got []string, re *regexp.Regexp, want string) {
	for i, s := range got {
		v.match(index(path, i), s, re, want)
		if slices.Contains(got[:i], s) {
			v.at(index(path, i), "%q stands twice", clip(s))
		}
	}
}

// notEmpty refuses a list that was written and holds nothing, where whether
// that means all or none is anybody's guess.
func (v *validator) notEmpty(path string, n int) {
	if v.has(path) && n == 0 {
		v.at(path, "the list is empty; name something, or leave the field out")
	}
}

// text refuses what was written as nothing.
func (v *validator) text(path, got string) {
	if v.has(path) && strings.TrimSpace(got) == "" {
		v.at(path, "is empty")
	}
}

func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }

func (v *validator) images(s *Spec) {
	v.notEmpty("spec.images", len(s.Images))
	for i, p := range s.Images {
		for _, q := range s.Images[:i] {
			if p.String() != "" && p.String() == q.String() {
				v.at(index("spec.images", i), "%q stands twice", p)
			}
		}
	}
	v.platforms("spec.platforms", s.Platforms)
	if s.Platforms != nil && s.Attest.Children != nil && !*s.Attest.Children {
		v.at("spec.attest.children", "contradicts spec.platforms: with a list, the index is attested only if every child was judged, and otherwise the children are all there is")
	}
}

func (v *validator) platforms(path string, list []string) {
	if list != nil {
		v.notEmpty(path, len(list))
		v.matchAll(path, list, platformForm, "os/architecture[/variant], such as linux/amd64")
	}
}

func (v *validator) scope(s *Scope) {
	if s == nil {
		return
	}
	v.notEmpty("spec.scope.trustedDirectories", len(s.TrustedDirectories))
	if len(s.TrustedDirectories) == 0 && s.MaxUploadAge == 0 {
		v.at("spec.scope", "demands nothing: give trustedDirectories or maxUploadAge, or leave it out")
	}
}

func (v *validator) base(b *Base) {
	const path = "spec.base"
	v.notEmpty(path+".approved", len(b.Approved))
	if b.Required && len(b.Approved) == 0 && !v.has(path+".approved") {
		v.at(path+".required", "contradicts the missing spec.base.approved: no image could pass")
	}
	for i := range b.Approved {
		v.approved(index(path+".approved", i), &b.Approved[i])
		for _, other := range b.Approved[:i] {
			if other.Name != "" && other.Name == b.Approved[i].Name {
				v.at(index(path+".approved", i)+".name", "%q stands twice", other.Name)
			}
		}
	}
}

func (v *validator) approved(path string, a *Approved) {
	v.match(path+".name", a.Name, nameForm, "lower-case letters, digits and hyphens, at most 63")
	if v.has(path + ".repository") {
		if ref, err := attestor.ParseReference(a.Repository + ":tag"); err != nil || strings.ContainsAny(a.Repository, "@*") {
			v.at(path+".repository", "%q is not a repository: want REGISTRY/PATH without tag, such as gcr.io/distroless/static-debian12", clip(a.Repository))
		} else {
			a.Repository = ref.Repository()
		}
	}
	v.notEmpty(path+".tags", len(a.Tags))
	v.matchAll(path+".tags", a.Tags, tagForm, "a tag")
	v.notEmpty(path+".digests", len(a.Digests))
	if len(a.Tags) == 0 && len(a.Digests) == 0 && !v.has(path+".tags") && !v.has(path+".digests") {
		v.at(path, "has neither tags nor digests, so that nothing would be approved")
	}
	if a.MaxBehind > 0 && len(a.Tags) == 0 {
		v.at(path+".maxBehind", "contradicts the missing tags: it is about how long ago a tag moved on")
	}
	v.signedBy(path+".signedBy", a.SignedBy)
}

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

func (v *validator) user(u *User) {
	if u.NonRoot || !v.has("spec.user.nonRoot") {
		if v.has("spec.user.minimumUID") && (u.MinimumUID < 1 || u.MinimumUID > 1<<31-1) {
			v.at("spec.user.minimumUID", "%d is not allowed: want 1 to 2147483647", u.MinimumUID)
		}
		return
	}
	for field, stricter := range map[string]bool{"names": u.Names == NamesResolve, "rootGroup": u.RootGroup == RespondDeny, "minimumUID": u.MinimumUID > 1} {
		if stricter {
			v.at("spec.user."+field, "contradicts nonRoot: false, with which the user is not judged")
		}
	}
}
