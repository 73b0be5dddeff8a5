// Package corpus holds what an adversary, or a broken tool, would put before
// the gate: images, registries' answers, scanners' and signers' documents,
// requests, reviews, events and policies, each a named case with the exact
// answer that it must get. It builds and names them; it runs nothing. The
// builders serve other packages' tests too.
package corpus

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
)

// A Case is one hostile thing, and the answer to it.
type Case struct {
	// Name is GROUP/WHAT, unique, in words.
	Name string
	// Policy is the part of a policy's spec that governs the case's repository,
	// beyond mode, images and attestors; "" is [Standard]. $BASE is the
	// repository of the approved base, $REPO the case's own with its registry,
	// $DIR the directory of its files.
	Policy string
	// Arrange puts what the case is about where the gate will find it.
	Arrange func(*Place)
	// Send is what is sent, in order; the answer to the last is the one that
	// counts. Nil: POST /v1/attest of the case's image by its tag "1".
	Send func(*Place) []Request
	Want Want
	// Mends names a refused case that this one differs from in the one thing
	// that the refused one's name says: it is admitted, so that nothing else
	// refuses the other.
	Mends string
}

// mending is the case as the allowed twin of a refused one.
func (c Case) mending(refused string) Case {
	c.Mends = refused
	return c
}

// Refuses reports whether the answer is a refusal.
func (c Case) Refuses() bool {
	if c.Want.Verdict != "" {
		return c.Want.Verdict != attestor.Pass
	}
	return c.Want.Status >= http.StatusBadRequest || c.Group() == "reviews" && !c.Want.Allowed
}

// Group is the part of the name before the slash.
func (c Case) Group() string {
	g, _, _ := strings.Cut(c.Name, "/")
	return g
}

// A Want is the exact answer. Of the parts of a Decision, those that are empty
// must be.
type Want struct {
	Status  int
	Verdict attestor.Outcome // "": the answer is no Decision
	Codes   []attestor.Code  // of every reason that refuses, each once, sorted
	Advice  []attestor.Code  // codes that must stand beside those; others may
	Says    string           // is in the body: of a refusal without codes, its reason
	Allowed bool             // an AdmissionReview's answer
}

// A Request is what is sent to the service.
type Request struct {
	To           Listener
	Method, Path string
	Header       http.Header // replaces what would be set
	Body         []byte
	Chunked      bool   // without a length
	Token        string // "": the administrator's; [Anonymous]: none
	Status       int    // the answer's, of a request that is not the last
}

// A Listener is one of the service's.
type Listener int

// The listeners.
const (
	Service Listener = iota
	Admission
)

// Anonymous is the token of a request that carries none.
const Anonymous = "anonymous"

// Standard is the policy of most cases: an approved base by digest or content,
// a numeric user, no findings above the limits.
const Standard = `
  base:
    required: true
    evidence: diffids-verified
    approved: [{name: debian, repository: $BASE, tags: ["1"]}]
  user: {nonRoot: true}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}`

// AnyBase is Standard for cases that are about something else than bases.
const AnyBase = `
  base: {required: false}
  user: {nonRoot: true}
  vulnerabilities: {maximumFixableSeverity: MEDIUM, maximumUnfixableSeverity: HIGH}`

// BaseRepository holds the base that [Standard] approves, by tag "1".
const BaseRepository = "base/debian"

// Base is that base.
func Base() Image { return Image{Layers: LayersOf("a", "b")} }

// Good is an image that [Standard] admits, of one layer of its own named for
// the case.
func (p *Place) Good() Image { return Image{Layers: append(LayersOf("a", "b"), LayerOf(p.Name))} }

// A Place is where a case puts its things: one or more repositories of a
// registry, the scans of its images, files.
type Place struct {
	Name string // a slug of the case's
	Host string // of the registry
	Repo string // the case's repository, without registry
	Dir  string // of its files

	Blobs     []Blob
	Manifests []Manifest
	Scans     map[attestor.Digest][]*grafeaspb.Occurrence // instead of a clean one
	Notes     []*grafeaspb.Occurrence                     // occurrences of attestations
	Files     map[string][]byte

	Victim                string  // HOST:PORT of a server that nobody may be led to
	Issuer                *Issuer // of callers' tokens
	Attestor, Note, KeyID string  // by which the gate attests
	// by the key of the gate: what only its own process should be able to do
	Sign func(payload []byte) []byte

	// Front answers requests to the case's repositories if it returns true.
	Front func(w http.ResponseWriter, r *http.Request) bool
}

// A Blob is one to be pushed.
type Blob struct {
	Repo  string
	Bytes []byte
}

// A Manifest is one to be pushed, valid or not.
type Manifest struct {
	Repo, Tag, MediaType string
	Bytes                []byte
}

// NewPlace is the place of a case in a registry, with files under dir.
func NewPlace(c Case, host, dir string) *Place {
	name := Slug(c.Name)
	return &Place{
		Name: name, Host: host, Repo: "corpus/" + name, Dir: dir,
		Scans: map[attestor.Digest][]*grafeaspb.Occurrence{}, Files: map[string][]byte{},
	}
}

// Slug is a case's name as a path segment.
func Slug(name string) string {
	var b strings.Builder
	for _, r := range strings.ToLower(name) {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			b.WriteRune(r)
		} else if s := b.String(); s != "" && s[len(s)-1] != '-' {
			b.WriteByte('-')
		}
	}
	return strings.Trim(b.String(), "-")
}

// Blob has b pushed to the case's repository.
func (p *Place) Blob(b []byte) attestor.Digest {
	p.Blobs = append(p.Blobs, Blob{p.Repo, b})
	return Sum(b)
}

// Manifest has b pushed as tag.
func (p *Place) Manifest(tag, mediaType string, b []byte) attestor.Digest {
	p.Manifests = append(p.Manifests, Manifest{p.Repo, tag, mediaType, b})
	return Sum(b)
}

// Push has an image pushed as tag "1".
func (p *Place) Push(i Image) attestor.Digest { return p.PushTo(p.Repo, "1", i) }

// PushTo has an image pushed to any repository.
func (p *Place) PushTo(repo, tag string, i Image) attestor.Digest {
	manifest, config := i.Bytes()
	i = i.WithDefaults()
	for _, l := range i.Layers {
		p.Blobs = append(p.Blobs, Blob{repo, l.Blob})
	}

	p.Blobs = append(p.Blobs, Blob{repo, config})
	p.Manifests = append(p.Manifests, Manifest{repo, tag, i.MediaType, manifest})
	return Sum(manifest)
}

// Ref is an image of the case's, by "TAG" or "sha256:…".
func (p *Place) Ref(tagOrDigest string) string {
	if strings.HasPrefix(tagOrDigest, "sha256:") {
		return p.Host + "/" + p.Repo + "@" + tagOrDigest
	}
	return p.Host + "/" + p.Repo + ":" + tagOrDigest
}

// Resource names an image as Container Analysis does.
func (p *Place) Resource(d attestor.Digest) string { return "https://" + p.Ref(string(d)) }

// Repositories are the case's.
func (p *Place) Repositories() []string {
	repos := []string{p.Repo}
	for _, m := range p.Manifests {
		repos = append(repos, m.Repo)
	}
	slices.Sort(repos)
	return slices.Compact(repos)
}

// Spec is the case's policy, as a part of a policy's spec.
func (p *Place) Spec(c Case) string {
	spec := c.Policy
	if spec == "" {
		spec = Standard
	}
	return strings.NewReplacer("$BASE", p.Host+"/"+BaseRepository, "$REPO", p.Host+"/"+p.Repo, "$DIR",
		p.Dir).Replace(spec)
}

// PolicyText is a whole policy for images.
func PolicyText(name string, images []string, attestorName, spec string) string {
	list := JSON(images) // JSON is YAML
	return fmt.Sprintf("apiVersion: attestor/v1\nkind: GatePolicy\nmetadata: {name: %s}\nspec:\n  mode: enforce\n"+
		"  images: %s\n  attestors: [%s]%s\n", name, list, attestorName, spec)
}

// Says is what the answer to the case must say: in reviews, $GOOD and $BAD stand
// for the two images, and $TAG for the good one's tag.
func (p *Place) Says(c Case) string {
	d := p.Subjects()
	if c.Group() != "reviews" || len(d) < 2 {
		return c.Want.Says
	}
	return strings.NewReplacer("$GOOD", p.Ref(string(d[0])), "$BAD", p.Ref(string(d[1])), "$TAG",
		p.Ref("1")).Replace(c.Want.Says)
}

// Requests are what the case sends.
func (p *Place) Requests(c Case) []Request {
	if c.Send == nil {
		return []Request{Attest(p.Ref("1"))}
	}
	return c.Send(p)
}

// Attest asks for an attestation.
func Attest(ref string) Request {
	return Post("/v1/attest", fmt.Sprintf(`{"image":%q}`, ref))
}

// Post sends JSON.
func Post(path, body string) Request {
	return Request{Method: http.MethodPost, Path: path, Body: []byte(body),
		Header: http.Header{"Content-Type": {"application/json"}}}
}

// Get asks for path.
func Get(path string) Request { return Request{Method: http.MethodGet, Path: path} }

// All are the cases, in the order of the groups of the threat model.
func All() []Case {
	return slices.Concat(
		platforms(), manifests(), users(), names(), layers(), bases(), lies(), outages(), redirects(), bombs(),
		signatures(), traps(), scans(), findings(), secrets(), systems(), sboms(), vexes(), attestations(), rules(),
		requests(), tokens(), references(), reviews(), events(), policies(), postures(),
	)
}

// denied, undecided and admitted are the answers to an image.
func denied(codes ...attestor.Code) Want {
	return Want{Status: http.StatusUnprocessableEntity, Verdict: attestor.Deny, Codes: sorted(codes)}
}

func undecided(codes ...attestor.Code) Want {
	return Want{Status: http.StatusBadGateway, Verdict: attestor.Undecided, Codes: sorted(codes)}
}

func waiting(codes ...attestor.Code) Want {
	return Want{Status: http.StatusServiceUnavailable, Verdict: attestor.Undecided, Codes: sorted(codes)}
}

func admitted() Want { return Want{Status: http.StatusOK, Verdict: attestor.Pass} }

// judged is denied, undecided or admitted, by what the codes are.
func judged(codes ...attestor.Code) Want {
	if len(codes) == 0 {
		return admitted()
	}
	for _, c := range codes {
		if c.Status() == attestor.StatusDeny {
			return denied(codes...)
		}
	}
	return undecided(codes...)
}

func sorted(codes []attestor.Code) []attestor.Code {
	codes = slices.Clone(codes)
	slices.Sort(codes)
	return slices.Compact(codes)
}

func refused(status int, says string) Want { return Want{Status: status, Says: says} }
