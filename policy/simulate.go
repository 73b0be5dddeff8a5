package policy

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
)

// A Report says what a set of policies would have decided.
type Report struct {
	Records int                      `json:"records"` // read
	Judged  int                      `json:"judged"`  // again, by the new policies
	Outside int                      `json:"outside"` // of images that the new policies are not about
	Before  map[attestor.Outcome]int `json:"before"`  // of those judged
	After   map[attestor.Outcome]int `json:"after"`
	Sample  int                      `json:"sample,omitempty"` // only one of so many records was judged; 0: all
	Images  ImageCounts              `json:"images"`           // that were judged, each by its newest decision

	Flips    []attestor.Flip       `json:"flips"` // one for each image, newest first
	ByReason map[attestor.Code]int `json:"byReason"`
	ByOwner  map[string]int        `json:"byOwner"`

	// Upcoming says what the policies refuse from later dates on, the next date first; it is never nil.
	Upcoming []attestor.Upcoming `json:"upcoming"`
}

// ImageCounts are the numbers of distinct images, each counted by its newest decision.
type ImageCounts struct {
	Judged int                      `json:"judged"`
	Before map[attestor.Outcome]int `json:"before"`
	After  map[attestor.Outcome]int `json:"after"`
}

func newReport() Report {
	return Report{
		Before: map[attestor.Outcome]int{}, After: map[attestor.Outcome]int{}, Flips: []attestor.Flip{},
		Images:   ImageCounts{Before: map[attestor.Outcome]int{}, After: map[attestor.Outcome]int{}},
		ByReason: map[attestor.Code]int{}, ByOwner: map[string]int{}, Upcoming: []attestor.Upcoming{},
	}
}

// maxFlipReasons bounds what one flip says; codes are counted in full.
const maxFlipReasons = 10

// Simulate judges recorded evidence by a set of policies. A record whose
// evidence was gathered for less than a policy asks about is answered with
// EVIDENCE_MISSING rather than by a guess; one that no policy of the set
// governs counts as outside, unless the policy that judged it then is in the
// set by name, and so no longer covers it.
func Simulate(set *Set, records iter.Seq2[attestor.Record, error]) (Report, error) {
	return SimulateAt(set, records, time.Time{})
}

// SimulateAt is [Simulate] on a day: parts of the policies that have a date refuse if it has come by then, and
// exceptions that have ended by then count as absent. Ages still count to when the evidence was gathered, since nobody
// knows what a later look would find. At the zero time the dates are those of the evidence, too.
func SimulateAt(set *Set, records iter.Seq2[attestor.Record, error], at time.Time) (Report, error) {
	s := NewSimulation(set, at)
	images := map[string]rejudged{}
	for r, err := range records {
		if err != nil {
			return Report{}, fmt.Errorf("reading record %d: %w", s.report.Records+1, err)
		}
		j, inside := s.add(r)
		if !inside {
			continue
		}

		// An image counts by its newest decision: those before it were of other scans.
		s.later.Add(j.image, j.later)
		if old, seen := images[j.image]; !seen || old.time.Before(j.time) {
			images[j.image] = rejudged{time: j.time, before: j.before, after: j.after}
		}
	}
	for _, j := range images {
		s.report.Images.add(j)
	}
	return s.Report(), nil
}

// NewSimulation begins a simulation, as [SimulateAt] makes one, that is given its records one by one. It is for one
// goroutine.
func NewSimulation(set *Set, at time.Time) *Simulation {
	return &Simulation{
		set: set, day: at, lacking: map[[2]attestor.Digest]lacking{}, flips: map[string]int{},
		report: newReport(),
	}
}

// Add judges a record. newest says that it is the newest decision on its image, by which the image counts: whoever
// gives all records of a period, and of each image one as newest, gets the same numbers in parts as at once.
func (s *Simulation) Add(r attestor.Record, newest bool) {
	j, inside := s.add(r)
	if !inside || !newest {
		return
	}
	s.later.Add(j.image, j.later)
	s.report.Images.add(j)
}

// Report is what was found until now.
func (s *Simulation) Report() Report {
	s.report.sort()
	s.report.Upcoming = s.later.List()
	return s.report
}

// Records is how many records were given.
func (s *Simulation) Records() int { return s.report.Records }

// Size is about how many bytes the flips of the report have as JSON.
func (s *Simulation) Size() int { return s.size }

// A rejudged is a record with both verdicts.
type rejudged struct {
	image         string
	time          time.Time
	before, after attestor.Outcome
	later         []attestor.Reason // that refuse from a later day on
}

func (c *ImageCounts) add(j rejudged) {
	c.Judged++
	c.Before[j.before]++
	c.After[j.after]++
}

func (r *Report) sort() {
	slices.SortStableFunc(r.Flips, func(a, b attestor.Flip) int {
		return cmp.Or(b.Time.Compare(a.Time), cmp.Compare(a.Image, b.Image))
	})
}

// at is the time whose dates count for a record.
func (s *Simulation) at(r attestor.Record) time.Time {
	// Evidence without a time dates nothing: the judge says so, whatever day was asked for.
	if s.day.IsZero() || r.Evidence.Time.IsZero() {
		return r.Evidence.Time
	}
	return s.day
}

// A Simulation judges recorded evidence by a set of policies.
type Simulation struct {
	set     *Set
	day     time.Time // whose dates count; zero: of each record's evidence
	later   attestor.UpcomingCounts
	lacking map[[2]attestor.Digest]lacking // what evidence for one text lacks for another
	flips   map[string]int                 // position in the report, by image and direction
	report  Report
	size    int // of the flips
}

// add judges a record; inside reports whether the policies are about its image.
func (s *Simulation) add(r attestor.Record) (j rejudged, inside bool) {
	// An export of an earlier version has revocations in the form of denials. Nothing was judged there, and the image's
	// last verdict is another decision's.
	if _, ok := attestor.AsRevocation(r.Decision); ok {
		return rejudged{}, false
	}

	s.report.Records++
	before := outcome(r.Decision.Verdict)
	after, checks, judgedBy, inside := s.again(r)
	if !inside {
		s.report.Outside++
		return rejudged{}, false
	}

	image := cmp.Or(r.Evidence.Image.String(), r.Decision.Image.Reference)
	j = rejudged{image, r.Decision.Time, before, after, attestor.Decision{Checks: checks}.Upcoming()}
	s.report.Judged++
	s.report.Before[before]++
	s.report.After[after]++
	if before == after {
		return j, true
	}

	// The reasons are those of the answer that refuses: a new pass has none, and the old ones say what changed.
	reasons := refusing(checks)
	if after == attestor.Pass {
		reasons = refusing(r.Decision.Checks)
	}
	s.flip(attestor.Flip{
		Decision: r.Decision.ID, Time: r.Decision.Time, Image: image,
		Owner: describe.Owner(r), Policy: judgedBy, Before: before, After: after, Reasons: reasons, Times: 1,
	})
	return j, true
}

func (s *Simulation) again(
	r attestor.Record,
) (after attestor.Outcome, checks []attestor.Check, by string, inside bool) {
	repository := r.Evidence.Image.Repository()
	if repository == "" {
		// The image was not resolved then: what was asked about says which policy governs it.
		repository = repositoryOf(r.Decision.Image.Reference)
	}
	if m := s.set.matches(repository); len(m) > 0 {
		p := m[0].Policy
		v := p.judgeKnowing(r.Evidence, s.missing(r, p), s.at(r))
		return v.Outcome(), v.Checks(), p.ref.Name, true
	}

	// A set of some policies is not about what others govern; one that has the policy, and no longer covers the image,
	// denies it.
	if r.Decision.Policy == nil || s.set.byName[r.Decision.Policy.Name] == nil {
		return "", nil, "", false
	}
	return attestor.Deny, []attestor.Check{
		{Name: attestor.CheckPolicy, Status: attestor.StatusDeny, Reasons: []attestor.Reason{{
			Code: attestor.CodeNoPolicy, Subject: repository, Message: "policy " + r.Decision.Policy.Name +
				" no longer covers it",
			Fix: "add the repository to spec.images",
		}}},
	}, "", true
}

// missing is what the evidence was not gathered for. Evidence without the text
// of the policy it was gathered for is taken to be complete for none.
func (s *Simulation) missing(r attestor.Record, p *Policy) lacking {
	// Evidence that was gathered for this very text lacks nothing.
	digest := attestor.DigestOf(r.PolicyText)
	if digest == p.ref.Digest {
		return lacking{}
	}
	key := [2]attestor.Digest{digest, p.ref.Digest}
	lacks, known := s.lacking[key]
	if !known {
		// A text that does not load asked for nothing that is known, so that its evidence is complete for nothing.
		var needs attestor.Needs
		recorded := readDocument(Source{Name: "recorded", Text: r.PolicyText}, digest)
		if old, errs := recorded.policy(p.checks, nil, false); len(errs) == 0 && old != nil {
			needs = old.needs
		}
		lacks = p.lacksFor(needs)
		s.lacking[key] = lacks
	}
	return lacks
}

func (s *Simulation) flip(f attestor.Flip) {
	codes := map[attestor.Code]bool{}
	for _, r := range f.Reasons {
		codes[r.Code] = true
	}

	// Cut only now: codes are counted of all reasons.
	f.Reasons = f.Reasons[:min(len(f.Reasons), maxFlipReasons)]
	key := flipKey(f)
	if i, seen := s.flips[key]; seen {
		s.report.Flips[i] = joinFlips(s.report.Flips[i], f)
		return
	}

	s.flips[key] = len(s.report.Flips)
	s.report.Flips = append(s.report.Flips, f)
	s.size += flipSize(f)
	s.report.ByOwner[f.Owner]++
	for c := range codes {
		s.report.ByReason[c]++
	}
}

// flipKey is what two flips have in common that are one: image and direction.
func flipKey(f attestor.Flip) string { return f.Image + " " + string(f.Before) + " " + string(f.After) }

// joinFlips is one flip of two: it shows the newer decision.
func joinFlips(a, b attestor.Flip) attestor.Flip {
	times := a.Times + b.Times
	if !b.Time.Before(a.Time) {
		a = b
	}
	a.Times = times
	return a
}

// flipSize is about how many bytes a flip has as JSON.
func flipSize(f attestor.Flip) int {
	n := 300 + len(f.Image) + len(f.Owner) + len(f.Policy)
	for _, r := range f.Reasons {
		n += 150 + len(r.Subject) + len(r.Message) + len(r.Fix)
	}
	return n
}

// outcome reads anything unknown as a denial.
func outcome(o attestor.Outcome) attestor.Outcome {
	if o == attestor.Pass || o == attestor.Undecided {
		return o
	}
	return attestor.Deny
}

// refusing lists the reasons that refuse; it is never nil.
func refusing(checks []attestor.Check) []attestor.Reason {
	return append([]attestor.Reason{}, attestor.Decision{Checks: checks}.Refusals()...)
}

func repositoryOf(reference string) string {
	ref, err := attestor.ParseReference(reference)
	if err != nil {
		return ""
	}
	return ref.Repository()
}

// maxRecord bounds one line of an export: some 100,000 findings.
const maxRecord = 64 << 20

// ReadRecords reads what `attestor decisions export` writes: NDJSON, an object
// {decision, evidence, policy} a line.
func ReadRecords(r io.Reader) iter.Seq2[attestor.Record, error] {
	return func(yield func(attestor.Record, error) bool) {
		limited := &io.LimitedReader{R: r, N: maxRecord}
		dec := json.NewDecoder(limited)
		for {
			limited.N = maxRecord
			var line struct {
				Decision *attestor.Decision `json:"decision"`
				Evidence *attestor.Evidence `json:"evidence"`
				Policy   string             `json:"policy"`
			}

			err := dec.Decode(&line)
			switch {
			// The end of the limit reads like the end of the file: a record that is too long must not end the list in
			// silence.
			case err == io.EOF && limited.N > 0:
				return
			case err != nil:
				yield(attestor.Record{}, notARecord(err))
				return
			case line.Decision == nil || line.Evidence == nil:
				yield(attestor.Record{}, notARecord(nil))
				return
			}

			if !yield(
				attestor.Record{Decision: *line.Decision, Evidence: *line.Evidence, PolicyText: []byte(line.Policy)},
				nil,
			) {
				return
			}
		}
	}
}

func notARecord(cause error) error {
	msg := "want an object with decision, evidence and policy"
	if _, syntax := errors.AsType[*json.SyntaxError](cause); syntax || errors.Is(cause, io.ErrUnexpectedEOF) {
		msg = "it is not JSON: " + cause.Error()
	} else if _, shape := errors.AsType[*json.UnmarshalTypeError](cause); cause != nil && !shape {
		return fmt.Errorf("reading it: %w", cause)
	}
	return &attestor.Error{Kind: attestor.Invalid, Msg: msg, Fix: "give what attestor decisions export writes"}
}

// Summary is the report's headline.
func (r Report) Summary() string {
	var flips []string
	count, images := map[string]int{}, map[string]bool{} // an image may flip from more than one answer
	for _, f := range r.Flips {
		count[string(f.Before)+" to "+string(f.After)]++
		images[f.Image] = true
	}

	for what, n := range count {
		flips = append(flips, fmt.Sprintf("%d from %s", n, what))
	}
	slices.Sort(flips)
	text := describe.Plural(r.Judged, "recorded decision") + " on " + describe.Plural(r.Images.Judged, "image") +
		" judged again; "
	if r.Sample > 1 {
		text = "a SAMPLE of one in " + describe.Plural(r.Sample, "decision") + ": " + text
	}
	if len(flips) == 0 {
		text += "no image would be answered otherwise"
	} else {
		text += fmt.Sprintf(
			"%s would be answered otherwise: %s", describe.Plural(len(images), "image"), strings.Join(flips, ", "),
		)
	}

	for _, u := range r.Upcoming {
		text += fmt.Sprintf("; refused from %s (owner: %s): %s", u.EffectiveFrom, u.Owner,
			describe.Plural(u.Images, "image"))
	}
	return text
}
