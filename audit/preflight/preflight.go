package preflight

import (
	"cmp"
	"context"
	"slices"
	"strings"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
)

// An Outcome is what would become of a container if its workload were deployed or started again.
type Outcome string

// The outcomes. The zero value is none of them, and counts as Unknown.
const (
	Attested Outcome = "attested" // by every attestor that its rule requires
	Exempt   Outcome = "exempt"   // by a pattern of the policy, or of the system policy
	Allowed  Outcome = "allowed"  // by a rule that admits everything
	Blocked  Outcome = "blocked"
	Unknown  Outcome = "unknown" // it could not be found out
)

// A Subject is a workload and what applies to it.
type Subject struct {
	audit.Workload
	Cluster string  // LOCATION.NAME, of a pod; "" if not known
	Policy  *Policy // required
}

// A Finding is what would become of one container.
type Finding struct {
	audit.Workload
	Cluster string   `json:"cluster,omitempty"`
	Outcome Outcome  `json:"outcome"`
	Why     string   `json:"why"`
	Fix     string   `json:"fix,omitempty"`
	Policy  string   `json:"policy"`
	Rule    string   `json:"rule,omitempty"`    // in words
	DryRun  bool     `json:"dryRun"`            // the rule does not block yet
	Checked string   `json:"checked,omitempty"` // the image by digest whose attestations were looked up
	Missing []string `json:"missing,omitempty"` // attestors without a valid attestation
}

// A Report is what a preflight found. Its JSON form is what `attestor audit preflight -o json` writes.
type Report struct {
	Policies []string        `json:"policies"` // with their rules in words
	Counts   map[Outcome]int `json:"counts"`   // of containers; every outcome has a number
	Images   int             `json:"images"`   // that differ
	Notes    []string        `json:"notes"`    // what limits the answer
	Findings []Finding       `json:"findings"` // those that need somebody first
}

// Config is what a preflight asks. Both functions are required.
type Config struct {
	// Standing finds the valid attestations of images by attestors, as [attestor.Standing] has them.
	Standing func(ctx context.Context, attestors []string, images []attestor.Image) (attestor.Standing, error)

	// Deployed finds the manifest that Cloud Run checks: of an index the linux/amd64 child, of a tag what it names now.
	Deployed func(ctx context.Context, image string) (attestor.Image, error)

	System *Policy // of Google's own images; nil: not read
}

// maxAsked bounds the images of one look-up.
const maxAsked = 200

// Run judges subjects by their policies.
func Run(ctx context.Context, c Config, subjects []Subject) Report {
	r := &run{c: c, deployed: map[string]deployed{}, asked: map[string]map[attestor.Digest]*question{}}
	report := Report{
		Counts:   map[Outcome]int{Attested: 0, Exempt: 0, Allowed: 0, Blocked: 0, Unknown: 0},
		Notes:    []string{},
		Policies: []string{},
	}

	images := map[string]bool{}
	for _, s := range subjects {
		images[s.Running] = true
		r.subject(ctx, s)
		report.describe(s.Policy, c.System)
	}

	// All questions are asked before any answer is given, many images at once.
	r.look(ctx)

	for i := range r.open {
		report.Findings = append(report.Findings, r.worst(&r.open[i]))
	}
	for _, f := range report.Findings {
		report.Counts[f.Outcome]++
	}
	report.Images = len(images)

	// What needs somebody comes first, in the same order each time.
	slices.SortStableFunc(report.Findings, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(rank(a.Outcome), rank(b.Outcome)),
			cmp.Compare(a.Image, b.Image),
			cmp.Compare(a.Name, b.Name),
		)
	})
	if report.Findings == nil {
		report.Findings = []Finding{}
	}
	return report
}

// describe adds a policy, once, and what limits an answer by it.
func (r *Report) describe(p, system *Policy) {
	line := p.name + ": " + rule{"the default rule", p.p.GetDefaultAdmissionRule()}.String()
	if slices.Contains(r.Policies, line) {
		return
	}
	r.Policies = append(r.Policies, line)
	if p.AsksSystemPolicy() && system == nil {
		r.Notes = append(
			r.Notes,
			p.name+" lets the system policy exempt Google's own images (globalPolicyEvaluationMode: ENABLE), "+
				"which was not read: images of Google that are listed as blocked may be exempt",
		)
	}
}

// rank is the order of a report: blocked first.
func rank(o Outcome) int {
	order := []Outcome{Blocked, Unknown, Attested, Exempt, Allowed}
	if i := slices.Index(order, o); i >= 0 {
		return i
	}
	return 1
}

// run is the state of one preflight.
type run struct {
	c        Config
	deployed map[string]deployed
	open     []opened

	questions []*question
	asked     map[string]map[attestor.Digest]*question // by the attestors
}

type deployed struct {
	image attestor.Image
	err   error
}

// A question is which of some images all of some attestors have attested to.
type question struct {
	attestors []string
	images    []attestor.Image
	standing  attestor.Standing
	err       error
}

// opened is a subject with the answers of every rule that may apply, of which some wait for a look-up.
type opened struct{ answers []waiting }

type waiting struct {
	Finding
	image attestor.Image // zero: the answer is final
	ask   *question
}

// subject answers what needs no look-up.
func (r *run) subject(ctx context.Context, s Subject) {
	base := Finding{Workload: s.Workload, Cluster: s.Cluster, Policy: s.Policy.name}
	final := func(o Outcome, why, fix string) {
		base.Outcome, base.Why, base.Fix = o, why, fix
		r.open = append(r.open, opened{[]waiting{{Finding: base}}})
	}

	// A platform policy is another kind of policy, whose checks are not these.
	if b := s.BinaryAuthorization; s.Kind != audit.KindPod && b != "" && b != "default" {
		final(
			Unknown,
			"it asks for the platform policy "+short(b)+", which is not read",
			"look at that policy: gcloud beta container binauthz policy describe",
		)
		return
	}

	// The allowlist comes before every rule: "a matching admission request will always be permitted".
	if s.Policy.AsksSystemPolicy() && r.c.System != nil {
		if pattern := r.c.System.exempt(s.Image); pattern != "" {
			final(Exempt, "by the system policy's pattern "+pattern, "")
			return
		}
	}
	if pattern := s.Policy.exempt(s.Image); pattern != "" {
		final(Exempt, "by the pattern "+pattern, "")
		return
	}

	rules, err := s.Policy.rules(s.Workload, s.Cluster)
	if err != nil {
		final(Unknown, err.Error(), "")
		return
	}

	// Each rule that may apply is answered; the strictest answer counts.
	var o opened
	for _, one := range rules {
		f := base
		f.Rule, f.DryRun = one.String(), one.dryRun()
		o.answers = append(o.answers, r.byRule(ctx, s, one, f))
	}
	r.open = append(r.open, o)
}

// byRule answers for one rule.
func (r *run) byRule(ctx context.Context, s Subject, one rule, f Finding) waiting {
	switch one.GetEvaluationMode() {
	case binaryauthorizationpb.AdmissionRule_ALWAYS_ALLOW:
		f.Outcome, f.Why = Allowed, one.name+" admits everything"
		return waiting{Finding: f}
	case binaryauthorizationpb.AdmissionRule_REQUIRE_ATTESTATION:
	default:
		f.Outcome, f.Why = Blocked, one.name+" refuses everything"
		f.Fix = "exempt the image by a pattern, or change the rule"
		return waiting{Finding: f}
	}

	img, why := r.checked(ctx, s, &f)
	if why != "" {
		f.Why = why
		return waiting{Finding: f}
	}

	f.Checked = img.String()
	return waiting{Finding: f, image: img, ask: r.question(one.GetRequireAttestationsBy(), img)}
}

// checked is the image whose attestations Binary Authorization looks up, or why the answer is known without.
func (r *run) checked(ctx context.Context, s Subject, f *Finding) (img attestor.Image, why string) {
	if s.Kind == audit.KindPod {
		// "Expected digest with sha256 scheme, but got tag or malformed digest": the pod's own reference counts, and
		// what runs by it today does not.
		ref, err := attestor.ParseReference(s.Image)
		img, pinned := ref.Pinned()
		if err == nil && pinned {
			return img, ""
		}
		f.Outcome, f.Fix = Blocked, "name the image by digest"
		if s.Running != s.Image {
			f.Fix += ": " + s.Running
		}
		return attestor.Image{}, "the pod names the image by tag, and only a digest can be attested"
	}

	// Many containers run one image: its manifest is looked up once.
	d, known := r.deployed[s.Running]
	if !known {
		d.image, d.err = r.c.Deployed(ctx, s.Running)
		r.deployed[s.Running] = d
	}
	if d.err != nil {
		f.Outcome, f.Fix = Unknown, "see that the registry can be read from here"
		return attestor.Image{}, "the manifest that Cloud Run would check could not be found: " + attestor.Message(
			d.err,
		)
	}
	return d.image, ""
}

// question notes that an image must be looked up, once for the same attestors.
func (r *run) question(attestors []string, img attestor.Image) *question {
	names := slices.Compact(slices.Sorted(slices.Values(attestors)))
	key := strings.Join(names, " ")
	of := r.asked[key]
	if of == nil {
		of = map[attestor.Digest]*question{}
		r.asked[key] = of
	}
	if q := of[img.Digest()]; q != nil {
		return q
	}

	// Images with the same attestors are asked about together, as many as one look-up takes.
	i := slices.IndexFunc(
		r.questions,
		func(q *question) bool { return len(q.images) < maxAsked && slices.Equal(q.attestors, names) },
	)
	if i < 0 {
		r.questions = append(r.questions, &question{attestors: names})
		i = len(r.questions) - 1
	}
	q := r.questions[i]
	q.images = append(q.images, img)
	of[img.Digest()] = q
	return q
}

// look asks every question.
func (r *run) look(ctx context.Context) {
	for _, q := range r.questions {
		q.standing, q.err = r.c.Standing(ctx, q.attestors, q.images)
	}
}

// worst is the strictest of the answers for one container.
func (r *run) worst(o *opened) Finding {
	var worst *Finding
	for i := range o.answers {
		a := &o.answers[i]
		if a.ask != nil {
			a.attested()
		}
		if worst == nil || rank(a.Outcome) < rank(worst.Outcome) {
			worst = &a.Finding
		}
	}
	return *worst
}

// attested reads a look-up's answer. Only a valid attestation of this digest by every attestor admits.
func (w *waiting) attested() {
	// A look-up that failed outweighs what it found.
	missing, err := w.ask.standing.Missing(w.ask.attestors, []attestor.Image{w.image})
	if w.ask.err != nil {
		err = w.ask.err
	}

	switch {
	case err != nil:
		w.Outcome, w.Why = Unknown, "its attestations could not be looked up: "+attestor.Message(err)
		w.Fix = "see that this identity may list the attestations and read the attestors"
	case len(missing) > 0:
		w.Outcome, w.Missing = Blocked, missing
		w.Why = "no valid attestation by " + strings.Join(missing, " and ")
		w.Fix = "attestor attest " + w.image.String()
	default:
		w.Outcome, w.Why = Attested, "by "+strings.Join(w.ask.attestors, " and ")
	}
}
