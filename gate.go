package attestor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"maps"
	"strings"
	"sync"
	"time"
)

// GateConfig holds what a Gate is made of. Everything but Summarizer is required.
type GateConfig struct {
	Policies   Policies
	Inspector  Inspector
	Scanner    Scanner
	Attester   Attester
	Recorder   Recorder
	Summarizer Summarizer // nil: an image whose policy asks for summaries cannot pass

	NewID    func() string
	Now      func() time.Time
	Emulated bool // Google's services are emulated; every Decision says so

	// Deadline bounds the gathering of evidence beyond Wait, Settle what
	// follows a pass: that part outlives the caller, so that a signature is
	// never left unrecorded because somebody hung up.
	Deadline time.Duration
	Settle   time.Duration
}

// A Gate admits images. It is safe for concurrent use.
type Gate struct{ c GateConfig }

// NewGate returns a Gate, or an error that names what is missing.
func NewGate(c GateConfig) (*Gate, error) {
	switch {
	case c.Policies == nil, c.Inspector == nil, c.Scanner == nil, c.Attester == nil, c.Recorder == nil:
		return nil, errors.New("making a gate: a stage is missing")
	case c.NewID == nil, c.Now == nil, c.Deadline <= 0, c.Settle <= 0:
		return nil, errors.New("making a gate: clock, ids or deadlines are missing")
	}
	return &Gate{c: c}, nil
}

// A Request asks whether an image may be admitted.
type Request struct {
	Image      Reference
	Caller     Caller
	DryRun     bool
	Policy     string   // with DryRun only: judge by this policy, whatever governs
	Platforms  []string // with DryRun only: judge these platforms
	Wait       time.Duration
	BreakGlass string // the reason; "" for none
	Labels     map[string]string
	RequestID  string
}

// Admit gathers evidence about an image, has it judged and, if the verdict
// allows, attests to it. A nil error means that the question was answered and
// recorded; the answer is the Decision's verdict.
func (g *Gate) Admit(ctx context.Context, r Request) (Decision, error) { return g.decide(ctx, r, nil) }

// Reconsider judges an image in a dry run, as Admit does, and records the Decision
// only if keep returns true: a daily look at everything that was admitted is then a
// line for each image, and not a copy of its evidence. It signs nothing, so that an
// answer without a record admits nothing.
func (g *Gate) Reconsider(ctx context.Context, r Request, keep func(Decision) (bool, error)) (Decision, error) {
	if !r.DryRun || keep == nil {
		return Decision{},
			errors.New("judging an image again: it must be a dry run, and somebody must say whether it is recorded")
	}
	return g.decide(ctx, r, keep)
}

// decide is Admit where keep is nil, else Reconsider.
func (g *Gate) decide(ctx context.Context, r Request, keep func(Decision) (bool, error)) (Decision, error) {
	p := &attempt{gate: g, req: r, start: g.c.Now(), stages: map[string]float64{}, keep: keep}
	p.dec = Decision{
		ID: g.c.NewID(), Time: p.start.UTC(), Emulated: g.c.Emulated, DryRun: r.DryRun,
		Image:     DecidedImage{Requested: r.Image.Requested(), Reference: r.Image.String()},
		Platforms: []PlatformSummary{}, Checks: []Check{}, Attestations: []Attestation{},
		Caller: CallerRef{Subject: r.Caller.Subject, Issuer: r.Caller.Issuer},
		Labels: maps.Clone(r.Labels), RequestID: r.RequestID,
	}

	// Rights come first: a caller who may not ask learns nothing, and has nothing fetched.
	policy, err := p.admissible()
	if err != nil {
		return Decision{}, err
	}

	// "No policy governs" is an answer, and a denial.
	if policy == nil {
		p.dec.Verdict = Deny
		p.check(noPolicy(r.Image.Repository()))
		return p.finish(ctx)
	}

	// Whatever the caller asks for, a policy that does not enforce signs nothing.
	ref := policy.Ref()
	p.policy, p.dec.Policy = policy, &ref
	p.dec.DryRun = r.DryRun || ref.Mode != Enforce

	// The wait for a scan is the caller's own, and does not use up the time for everything else.
	gather, cancel := context.WithTimeout(ctx, g.c.Deadline+r.Wait)
	defer cancel()

	if err := p.gather(gather); err != nil {
		return Decision{}, err
	}

	// The caller is gone, and nothing was signed: what was gathered may be cut short, and is judged for nobody.
	if err := ctx.Err(); err != nil {
		return Decision{}, &Error{
			Kind: Unavailable,
			Msg:  "the request ended before it was decided",
			Fix:  "repeat the request",
			Err:  err,
		}
	}

	// The policy judges what is recorded and nothing else, so that the record shows why an image passed.
	verdict := policy.Judge(p.ev)
	p.dec.Verdict, p.dec.Checks = verdict.Outcome(), verdict.Checks()

	// From here on the caller may hang up: what was signed must be recorded all the same.
	closing, cancel := context.WithTimeout(context.WithoutCancel(ctx), g.c.Settle)
	defer cancel()

	if err := p.attest(closing, verdict); err != nil {
		return Decision{}, err
	}
	return p.finish(closing)
}

// attempt is the state of one Admit.
type attempt struct {
	gate     *Gate
	req      Request
	policy   Policy
	start    time.Time
	ev       Evidence
	standing Standing
	dec      Decision
	mu       sync.Mutex
	stages   map[string]float64 // guarded by mu
	left     []Reason           // about summaries, for the check attest

	keep func(Decision) (bool, error) // of a dry run: whether it is recorded; nil: it is
}

// admissible checks rights and finds the policy, with nothing fetched. A nil
// policy means that none governs.
func (p *attempt) admissible() (Policy, error) {
	r, repo := p.req, p.req.Image.Repository()
	if repo == "" {
		return nil, &Error{Kind: Invalid, Msg: "no image was given"}
	}

	// An override needs the right to attest too: it ends in an attestation.
	action := ActionAttest
	if r.DryRun {
		action = ActionCheck
	}

	// A choice of the caller's, by which an image passes that the governing policy refuses, must sign nothing.
	switch {
	case !r.Caller.May(action, repo):
		return nil, &Error{
			Kind: Forbidden,
			Msg:  "this identity may not " + string(action) + " images of this repository",
			Fix:  "ask whoever administers the gate to grant " + string(action),
		}
	case r.Policy != "" && !r.DryRun:
		return nil, &Error{
			Kind: Invalid,
			Msg:  "a policy can be chosen in a dry run only",
			Fix:  "set dryRun, or leave policy out: the image decides which policy governs",
		}
	case len(r.Platforms) > 0 && !r.DryRun:
		return nil, &Error{
			Kind: Invalid,
			Msg:  "platforms can be chosen in a dry run only",
			Fix:  "set platforms in the policy",
		}
	case r.BreakGlass != "" && r.DryRun:
		return nil, &Error{Kind: Invalid, Msg: "break-glass and dry run exclude each other"}
	}

	// A policy that is named judges in a dry run only, which the cases above hold: it can sign nothing.
	if r.Policy != "" {
		policy, ok := p.gate.c.Policies.Named(r.Policy)
		if !ok {
			return nil, &Error{Kind: NotFound, Msg: "no such policy", Fix: "GET /v1/policies lists them"}
		}
		return policy, nil
	}

	policy, ok := p.gate.c.Policies.Govern(repo)
	if !ok {
		return nil, nil //nolint:nilnil // no policy is an answer, not an error: NO_POLICY
	}

	// An override is refused before anything is fetched. The right is checked again when the digest is known.
	if r.BreakGlass != "" {
		if err := CheckBreakGlass(r.Caller, repo, r.BreakGlass, policy.BreakGlass()); err != nil {
			return nil, err
		}
	}
	return policy, nil
}

func noPolicy(repository string) Check {
	return Check{Name: CheckPolicy, Status: StatusDeny, Reasons: []Reason{{
		Code: CodeNoPolicy, Subject: repository, Message: "no policy governs " + repository + "; nothing was fetched",
		Fix: "add the repository to the images of a policy",
	}}}
}

// standingFor is how long the attestations that were found at the start are taken to exist still: a request may wait
// minutes for a scan.
const standingFor = 5 * time.Second

// attest signs what may be signed, and says in the attest check what was done.
func (p *attempt) attest(ctx context.Context, v Verdict) error {
	auth, why, err := p.authorize(v)
	if err != nil {
		return err
	}

	// Without an authorization nothing is signed: Attest takes nothing in its place.
	if why != "" {
		p.refuse(ctx, v)
		p.unsigned(why)
		return nil
	}
	defer p.time("attest")()

	// What was found at the start may have been revoked during a wait for a scan: Attest then looks again.
	known := p.standing
	if p.gate.c.Now().Sub(p.start) > standingFor {
		known = Standing{}
	}

	// The intent is recorded before anything is stored, so that a crash leaves no attestation that nobody knows of.
	var notRecorded, notPublished error
	record := func() error {
		if notRecorded = p.hashEvidence(); notRecorded == nil {
			notRecorded = p.gate.c.Recorder.Begin(ctx, p.record())
		}
		return notRecorded
	}
	begin := record
	if _, want := auth.Summary(); want {
		begin = func() error {
			notPublished = p.summarize(ctx, auth, record)
			return notPublished
		}
	}
	made, err := p.gate.c.Attester.Attest(ctx, auth, known, begin)

	// Without the intent in the record nothing was stored: the answer is an error, and nothing admits the image.
	if notRecorded != nil {
		// A record that says when to ask again is well: it has a reason of its own.
		if e, ok := errors.AsType[*Error](notRecorded); ok && e.After > 0 {
			return e
		}
		return &Error{
			Kind: Unavailable,
			Msg:  "the record cannot be written, so that nothing was attested",
			Fix:  "whoever runs the gate finds the cause by attestor doctor and in /ready; then repeat the request",
			Err:  notRecorded,
		}
	}

	// On error, too: what exists is recorded, so that a revocation finds it.
	if made != nil {
		p.dec.Attestations = made
	}

	// Attest reports that nothing was begun; the cause says more. Attestations that stood before do not make it a pass.
	if notPublished != nil {
		err = notPublished
	}

	// Nothing passes by Attest's word alone: what it returned must have an attestation by each attestor of each image.
	if err == nil {
		err = attestedAll(auth, made)
	}

	// A part of the attestations is no pass: the check errs, and so does the decision. An override whose attestations
	// exist in part stays in the record, so that they expire.
	if err != nil {
		if len(made) == 0 {
			p.dec.BreakGlass = nil
		}
		p.check(Check{
			Name: CheckAttest, Status: StatusError,
			Reasons: append([]Reason{reasonOf(err, CodeAttestationNotStored)}, p.left...),
		})
		return nil
	}

	// Whoever deploys an index that was attested in part would be refused: the children are named instead.
	p.dec.IndexAttested = p.ev.Index && v.CoversIndex()
	if p.ev.Index && !v.CoversIndex() {
		for _, d := range v.Subjects() {
			p.dec.Deploy = append(p.dec.Deploy, p.ev.Image.Sibling(d).String())
		}
	}
	p.check(Check{Name: CheckAttest, Status: StatusPass, Reasons: append(p.foreign(), p.left...)})
	return nil
}

// attestedAll is an error unless what was made has an attestation by each attestor of each image that was authorized.
func attestedAll(auth Authorization, made []Attestation) error {
	missing, err := Standing{Known: true, Valid: made}.Missing(auth.Attestors(), auth.Images())
	if err == nil && len(missing) > 0 {
		err = &Error{
			Kind: Upstream, Code: CodeAttestationNotStored,
			Msg: "not every image was attested by " + strings.Join(missing, ", "),
			Fix: "repeat the request; if that does not help, report this as a defect of the gate",
		}
	}
	return err
}

// foreign reports the attestations that were found and not trusted.
func (p *attempt) foreign() []Reason {
	reasons := []Reason{}
	for _, a := range p.standing.Invalid {
		reasons = append(reasons, Reason{
			Code: CodeAttestationForeign, Subject: a.Occurrence,
			Message: "an attestation under " + a.Note + " is not trusted: " + a.Why,
			Fix:     "find out who wrote it, if it was not this gate with an earlier key",
		})
	}
	return reasons
}

// authorize returns an authorization, or why there is none.
func (p *attempt) authorize(v Verdict) (auth Authorization, why string, err error) {
	// A dry run signs nothing, not even for an override: it comes before every way to an authorization.
	switch {
	case p.req.DryRun:
		return Authorization{}, "this was a dry run", nil
	case p.dec.DryRun:
		return Authorization{}, "the policy is in dry run", nil
	case v.Outcome() == Pass:
		auth, err = Authorize(p.dec.ID, v)
		return auth, "", err
	case p.req.BreakGlass == "":
		return Authorization{}, "the image did not pass", nil
	case p.ev.Image.IsZero():
		return Authorization{}, "the image could not be resolved to a digest, and break-glass needs one", nil

	// An override signs what was judged and nothing else: of an index without an allowed platform, that is nothing.
	case len(v.Subjects()) == 0:
		return Authorization{}, "no platform of the image was judged, and break-glass signs nothing else", nil
	}

	// The grant is for this digest and by this caller alone.
	grant, err := GrantBreakGlass(p.req.Caller, p.ev.Image, p.req.BreakGlass, p.policy.BreakGlass(), p.gate.c.Now())
	if err != nil {
		return Authorization{}, "", err
	}

	// The verdict's own digest must be the grant's, and its policy must enforce.
	if auth, err = AuthorizeBreakGlass(p.dec.ID, v, grant); err != nil {
		return Authorization{}, "", err
	}

	// Noted only now: a decision that has it and an attestation answers 200.
	record := grant.Record()
	p.dec.BreakGlass = &record
	return auth, "", nil
}

// unsigned explains why nothing was signed, and lists the attestations that exist all the same.
func (p *attempt) unsigned(why string) {
	reasons := []Reason{{Code: CodeNotAttested, Message: why}}
	p.dec.Attestations = append(p.dec.Attestations, p.standing.Valid...)
	for _, a := range p.standing.Valid {
		if p.dec.Verdict != Pass {
			reasons = append(reasons, p.attestedAlready(a))
		}
	}

	p.check(Check{Name: CheckAttest, Status: StatusSkipped,
		Reasons: append(append(reasons, p.foreign()...), p.left...)})
}

// attestedAlready says what still admits a digest of the image. The command names that digest: revoking an index that was
// never signed deletes nothing. A platform may be an image of its own that passes, so that its attestation is no mistake.
func (p *attempt) attestedAlready(a Attestation) Reason {
	r := Reason{
		Code: CodeAlreadyAttested, Subject: string(a.Digest),
		Message: "an earlier attestation by " + a.Attestor + " still admits this digest",
		Fix:     "attestor revoke " + p.ev.Image.Sibling(a.Digest).String() + " --reason 'refused by the policy now'",
	}
	if a.Digest != p.ev.Image.Digest() {
		r.Message += ", which is one of the image's platforms"
		r.Fix = "if this platform is not to run by itself either: " + r.Fix
	}
	return r
}

// check adds a check. A refusing check turns Pass into Undecided; a Deny stays Deny.
func (p *attempt) check(c Check) {
	c = seal(c)
	p.dec.Checks = append(p.dec.Checks, c)
	if refuses(c) && p.dec.Verdict == Pass {
		p.dec.Verdict = Undecided
	}
}

func (p *attempt) record() Record {
	r := Record{Decision: p.dec, Evidence: p.ev}
	if p.policy != nil {
		r.PolicyText = p.policy.Text()
	}
	return r
}

// hashEvidence names in the Decision the evidence it is based on, once: it does
// not change after it was gathered.
func (p *attempt) hashEvidence() error {
	if p.ev.Time.IsZero() || p.dec.Evidence != "" { // nothing was gathered, or it is done
		return nil
	}

	// The bytes that are hashed are those that the record stores: EncodeTo writes what json.Marshal does.
	h := sha256.New()
	if err := p.ev.EncodeTo(h); err != nil {
		return err
	}
	p.dec.Evidence = "sha256:" + hex.EncodeToString(h.Sum(nil))
	return nil
}

// finish records the Decision; one that cannot be recorded is not an answer.
func (p *attempt) finish(ctx context.Context) (Decision, error) {
	p.dec.DurationMS = p.gate.c.Now().Sub(p.start).Milliseconds()
	p.mu.Lock()
	p.dec.Stages = maps.Clone(p.stages)
	p.mu.Unlock()
	if err := p.hashEvidence(); err != nil {
		return Decision{}, err
	}

	// Only a dry run may go without a record, whoever asks.
	if p.keep != nil && p.dec.DryRun {
		if keep, err := p.keep(p.dec); err != nil || !keep {
			return p.dec, err
		}
	}

	entry, err := p.gate.c.Recorder.Finish(ctx, p.record())
	if err != nil {
		return Decision{}, &Error{
			Kind: Unavailable,
			Msg:  "the decision was not recorded and is void",
			Fix:  "repeat the request: signatures that exist are found and reused",
			Err:  err,
		}
	}
	p.dec.Log = entry
	return p.dec, nil
}

// time measures a stage, for operators; call what it returns when it ends.
func (p *attempt) time(stage string) func() {
	start := p.gate.c.Now()
	return func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		p.stages[stage] += float64(p.gate.c.Now().Sub(start).Microseconds()) / 1000
	}
}

// reasonOf is what a Decision may say of a stage's error.
func reasonOf(err error, fallback Code) Reason {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		if errors.Is(err, context.DeadlineExceeded) {
			return Reason{Code: CodeTimedOut, Message: "the time allowed ran out", Fix: "repeat the request"}
		}
		return Reason{Code: fallback, Message: "internal error; the log has it under the request id"}
	}

	// Msg and Fix are written for callers; the cause within is for logs alone.
	r := Reason{Code: e.Code, Message: e.Msg, Fix: e.Fix, RetryAfter: e.RetryAfter()}
	if r.Code == "" {
		r.Code = fallback
	}
	return r
}
