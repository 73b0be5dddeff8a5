package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/client"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/throttle"
)

type auditFlags struct {
	where    whereFlags
	report   reportFlags
	policies []string
	projects []string
	running  runningFlags
	file     string
	state    string
	posture  string
	spread   bool
	atOnce   int
	exitZero bool
}

func auditCommand() *cobra.Command {
	f := &auditFlags{}
	c := &cobra.Command{
		Use:   "audit REGISTRY|REPOSITORY|IMAGE…",
		Short: "Judge every image of repositories, and report; sign nothing",
		Long: `Judges, without signing, every tag of repositories, images by tag or digest, every reference of a file, or what runs
now, each digest once, and writes one report. With --state an interrupted audit goes on where it stopped. A refusal outweighs what
could not be decided. With --spread the images are judged by the instances of the service instead, and the report is made of the
record, by attestor report.

A REGISTRY holds repositories: us-docker.pkg.dev/PROJECT, us-docker.pkg.dev/PROJECT/REPOSITORY and gcr.io/PROJECT are listed by
Artifact Registry's API, any other HOST or HOST/PATH/ by its catalog. A slash at the end says that what is below is meant.`,
		Example: "  attestor audit us-docker.pkg.dev/acme/prod/api --state audit.state --output-file report.html\n" +
			"  gcloud run services list --format json | attestor audit --cloud-run -",
		RunE:        func(c *cobra.Command, repositories []string) error { return f.run(c, repositories) },
		Annotations: map[string]string{actsItself: "true"},
	}
	c.AddCommand(preflightCommand())

	f.where.register(c)
	f.report.register(c)
	c.Flags().StringArrayVar(&f.policies, "policy", nil,
		"judge by this policy `FILE` instead of the configured ones (repeatable)")
	c.Flags().StringVar(&f.file, "file", "", "judge the references in this `FILE`, one a line; - for standard input")
	f.registerProjects(c)
	f.running.register(c, "cloud-run-project")
	c.Flags().StringVar(
		&f.posture,
		"posture",
		"baseline",
		"tell how the services, jobs and worker pools of --cloud-run and --cloud-run-project are set up, "+
			"by profile baseline, hipaa, strict, or a `FILE`; off for not at all",
	)
	c.Flags().StringVar(&f.state, "state", "", "go on from this `FILE` after an interrupt")
	c.Flags().BoolVar(&f.spread, "spread", false,
		"publish what is found to rejudge.topic, by which the gate's instances judge it; the record has what they found")
	c.Flags().IntVar(&f.atOnce, "at-once", 16, "images at once, at most; fewer where servers ask for it")
	c.Flags().BoolVar(&f.exitZero, "exit-zero", false, "end with 0 where 1 would say that an image would be refused")
	return c
}

func (f *auditFlags) run(c *cobra.Command, repositories []string) (err error) {
	if len(repositories)+len(f.projects) == 0 && f.file == "" && !f.running.any() {
		return errors.New(
			"say what to audit: repositories, --project, --file, --cloud-run, --pods or --cloud-run-project")
	}

	if f.spread {
		return f.publish(c, repositories)
	}
	if f.atOnce < 1 {
		return errors.New("--at-once is less than 1: want how many images are judged at once, at most")
	}
	f.report.settle(c)

	// The profile is read first: a mistake in it must not show after hours of judging.
	services, err := newServicesFound(f.posture)
	if err != nil {
		return err
	}
	a := &auditing{c: c, busy: audit.NewThrottle(time.Now), apart: artifactsApart{}}
	q := question{policies: f.policies, options: engine.Options{Wrap: a.busy.Wrap, Limited: a.busy.Complain,
		Recorded: a.recorded}}
	listed := newListing()

	// Without a configuration, the registries are those of the images: they are listed before the judge is made.
	var refs audit.References
	if _, configured := f.where.configured(); f.where.server == "" && !configured && len(f.policies) > 0 {
		if refs, err = f.references(c, repositories, config.Registries{}, services, listed); err != nil {
			return err
		}
		if refs, q.hosts, err = inMemory(refs); err != nil {
			return &exit{code: exitFor(err), err: err}
		}
		if len(q.hosts) == 0 {
			return noImage(listed)
		}
	}

	a.judge, err = f.where.judge(c, q)
	if err != nil {
		// A list in memory names its registries, and is judged from memory afterwards.
		return err
	}
	defer func() { err = errors.Join(err, a.judge.close()) }()

	if refs == nil {
		if refs, err = f.references(c, repositories, plainHosts(a.judge), services, listed); err != nil {
			return err
		}
	}

	// A report that cannot be written is refused before anything is judged.
	if a.out, err = f.report.collector(time.Now()); err != nil {
		return err
	}

	sweep := audit.Sweep{
		Judge: a.admit, Resolve: a.resolver(), Listed: listed.only, Artifact: artifactOf(a.judge), Result: a.result,
		State: f.state, Key: f.key(a.judge, repositories),
		Most: f.atOnce, Now: time.Now, Progress: sweepProgress(c.ErrOrStderr()),
	}
	totals, err := sweep.Run(c.Context(), refs)
	if err != nil {
		return &exit{code: exitFor(err), err: err}
	}

	// A definition that cannot be judged leaves the images' results as they are, and changes the exit code.
	var unjudged error
	if a.out.posture, unjudged = services.judge(c.Context(), a.judge.attested()); unjudged != nil {
		fmt.Fprintf(c.ErrOrStderr(), "attestor: how services and jobs are set up could not be judged: %s\n",
			attestor.Message(unjudged))
	}

	// No report is written over an earlier one where there is nothing to report.
	if err := a.nothing(totals, listed); err != nil {
		return err
	}
	if err := f.report.put(c, a.out.write); err != nil {
		return err
	}

	fmt.Fprintf(c.ErrOrStderr(), "%s: %d pass, %d would be refused, %d could not be decided, %d failed\n",
		describe.Plural(totals.Images(), "image"), totals.Passed, totals.Refused, totals.Undecided, totals.Failed)
	a.apart.write(c.ErrOrStderr())

	// A refusal outweighs what could not be decided.
	switch {
	case totals.Refused > 0:
		return endsWith(attestor.ExitDeny, f.exitZero)
	case totals.Undecided+totals.Failed > 0 || unjudged != nil:
		return &exit{code: attestor.ExitError}
	}
	return nil
}

// nothing is the error of an audit that judged nothing: nobody may take it for one that found nothing wrong.
func (a *auditing) nothing(totals audit.Totals, listed *listing) error {
	// A reference that cannot be read is a failure too: only such failures are nothing to judge.
	unreadable := a.malformed == totals.Failed
	switch {
	case a.out.posture != nil || totals.Passed+totals.Refused+totals.Undecided > 0:
		return nil
	case totals.References == 0, unreadable && totals.Failed > 0:
		return noImage(listed)
	case totals.Images() == 0:
		a.apart.write(a.c.ErrOrStderr())
		return &attestor.Error{
			Kind: attestor.Invalid, Msg: "there is no image to judge: all that was found are artifacts beside images",
			Fix: "name a repository of images, or give the reference in a --file: what is named is judged " +
				"whatever it is",
		}
	}

	return nil
}

// noImage says what was expected where, or that what was found there is no reference.
func noImage(l *listing) error {
	if n := l.length(); n > 0 {
		return &attestor.Error{
			Kind: attestor.Invalid, Msg: "there is no image to judge: " + describe.Plural(n, "reference") +
				" cannot be read",
			Fix: "write references as REGISTRY/REPOSITORY:TAG or REGISTRY/REPOSITORY@sha256:…, one a line",
		}
	}
	return &attestor.Error{Kind: attestor.Invalid, Msg: "there is no image to judge: " + strings.Join(l.found(), "; ")}
}

// auditing is the state of one audit.
type auditing struct {
	c       *cobra.Command
	judge   *judge
	busy    *audit.Throttle
	denials sync.Map // *atomic.Int64 by reference: how often a denial was judged again
	records sync.Map // attestor.Record by the decision's id: written where images are judged, side by side
	out     *collector
	apart   artifactsApart

	malformed int // references that could not be read
}

// recorded keeps the evidence of a decision until its result is reported.
func (a *auditing) recorded(r attestor.Record) { a.records.Store(r.Decision.ID, r) }

// admit judges one image. What came to nothing because somebody is asked too much
// is an [audit.Throttled]: the sweep slows down and judges it again.
func (a *auditing) admit(ctx context.Context, ref attestor.Reference) (attestor.Decision, error) {
	// A sweep is background work: its calls leave room for those that somebody waits for.
	begun := time.Now()
	d, err := a.judge.admit(throttle.Background(ctx), attestor.Request{Image: ref, DryRun: true})
	if e, ok := errors.AsType[*client.Error](err); ok && e.RetryAfter > 0 {
		return d, &audit.Throttled{After: e.RetryAfter, Err: err}
	}

	// A denial of which a part could not be found out says less than it would otherwise: what it lacks would be missing
	// from the report, and its fix would be about the quota. It stands if asking more slowly does not help.
	if err == nil && (d.Verdict == attestor.Undecided || d.Verdict == attestor.Deny && unclear(d) && a.again(ref)) {
		err = throttled(a.busy, begun)
	}
	if err != nil {
		a.records.Delete(d.ID) // it is judged again, or reported without one
	}
	return d, err
}

// unclear reports whether a check could not be made.
func unclear(d attestor.Decision) bool {
	return slices.ContainsFunc(d.Checks, func(c attestor.Check) bool { return c.Status == attestor.StatusError })
}

// deniedTries is how often a denial is judged again because a part of it could not be found out.
const deniedTries = 3

// again counts the times that an image's denial is judged again, and says whether it may be once more.
func (a *auditing) again(ref attestor.Reference) bool {
	n, _ := a.denials.LoadOrStore(ref.String(), new(atomic.Int64))
	return n.(*atomic.Int64).Add(1) <= deniedTries
}

// resolver finds the digest behind a tag, so that a digest with many tags is
// judged once; nil where a service resolves for itself.
func (a *auditing) resolver() func(context.Context, attestor.Reference) (attestor.Image, error) {
	if a.judge.engine == nil {
		return nil
	}
	return func(ctx context.Context, ref attestor.Reference) (attestor.Image, error) {
		begun := time.Now()
		img, err := a.judge.engine.Inspector.Pin(ctx, ref)
		if err != nil {
			err = cmp.Or(throttled(a.busy, begun), err)
		}
		return img, err
	}
}

// result reports one reference. Results come one at a time.
func (a *auditing) result(r audit.Result) error {
	switch {
	case r.Artifact != "":
		if r.Decision != nil {
			a.records.Delete(r.Decision.ID)
		}
		a.apart.add(r)
		return nil
	case r.Decision == nil:
		if _, err := attestor.ParseReference(r.Reference); err != nil {
			a.malformed++
		}
		fmt.Fprintf(a.c.ErrOrStderr(), "attestor: %s: %s\n", r.Reference, r.Failure)
		return nil
	}

	// Decisions of this run have their evidence in memory; the records of others are looked up.
	record, ok := a.records.LoadAndDelete(r.Decision.ID)
	if !ok { // of an earlier run, or of a service
		record = recordOf(a.c.Context(), a.judge, *r.Decision)
	}
	a.out.add(record.(attestor.Record)) //nolint:forcetypeassert // nothing else is stored above
	return nil
}

// key is what the sweep is about: a state of something else is refused.
func (f *auditFlags) key(j *judge, repositories []string) string {
	parts := slices.Concat([]string{f.file}, f.running.key(), repositories)
	for _, project := range f.projects {
		parts = append(parts, "--project="+project)
	}

	// The policies are part of the key: a state of other policies would mix two judgements.
	if j.engine != nil {
		return strings.Join(append(parts, string(j.engine.Policies.Set().Digest())), " ")
	}
	return strings.Join(append(parts, f.where.server), " ")
}

// recordOf is a decision with its evidence, where the record is at hand: ages
// of findings are in there.
func recordOf(ctx context.Context, j *judge, d attestor.Decision) attestor.Record {
	if j.engine != nil {
		if r, err := j.engine.Store.Record(ctx, d.ID); err == nil {
			return r
		}
	}
	return attestor.Record{Decision: d}
}

// throttled is the error of what came to nothing while somebody said that
// they are asked too much; nil where it did not.
func throttled(t *audit.Throttle, begun time.Time) error {
	after, complained := t.Since(begun)
	if !complained {
		return nil
	}
	return &audit.Throttled{After: after, Err: &attestor.Error{
		Kind: attestor.TooMany, Msg: "the registry, or a quota of Google's services, kept refusing further " +
			"requests for now",
		Fix: "run the same command again later; with --state it goes on where it stopped",
	}}
}

// plainHosts are the registries that the local configuration speaks plain
// HTTP to.
func plainHosts(j *judge) config.Registries {
	if j.engine != nil {
		return j.engine.Config.Registries
	}
	return config.Registries{}
}

// references lists what is to be judged, source by source.
func (f *auditFlags) references(
	c *cobra.Command,
	repositories []string,
	plain config.Registries,
	services *servicesFound,
	listed *listing,
) (audit.References, error) {
	var sources []audit.References
	repositories, named := namedImages(repositories)
	if len(named) > 0 {
		sources = append(
			sources,
			listed.counted("an image", audit.LinesOf(strings.NewReader(strings.Join(named, "\n")))),
		)
	}

	// Images are cut off before: what is left names repositories or registries.
	targets, err := f.targets(repositories)
	if err != nil {
		return nil, err
	}
	if len(repositories)+len(f.projects) > 0 {
		sources = append(sources, listed.counted("a tag in "+targets.String(),
			listed.ofRepositories(targets.tags(c.Context(), plain, c.ErrOrStderr()))))
	}

	if f.file != "" {
		text, err := readInput(c, f.file)
		if err != nil {
			return nil, err
		}
		sources = append(sources, listed.counted(
			"a reference, one a line, in "+inputName(f.file), audit.LinesOf(bytes.NewReader(text))))
	}

	running, err := f.running.sources(c, services)
	if err != nil {
		return nil, err
	}
	for _, source := range running {
		images := listed.counted(source.expected, audit.RunningImages(source.workloads))
		sources = append(sources, images)
		sources = append(sources, saying(c.ErrOrStderr(), source))
	}

	// Sources are read one after the other, and only as far as the sweep asks.
	return func(yield func(string, error) bool) {
		for _, s := range sources {
			for ref, err := range s {
				listed.yielded(ref)
				if !yield(ref, err) {
					return
				}
			}
		}
	}, nil
}

// namedImages tells the arguments that name one image, by tag or digest, from those that name a repository.
func namedImages(targets []string) (repositories, named []string) {
	for _, target := range targets {
		if _, err := attestor.ParseReference(target); err == nil {
			named = append(named, target)
		} else {
			repositories = append(repositories, target)
		}
	}
	return repositories, named
}

// saying yields nothing, and says how a source was read once it was.
func saying(w io.Writer, source runningSource) audit.References {
	return func(func(string, error) bool) {
		if note := source.note(); note != "" {
			fmt.Fprintf(w, "attestor: %s\n", note)
		}
	}
}

// sweepProgress draws a bar on a terminal.
func sweepProgress(w io.Writer) func(audit.Progress) {
	bar := progress(w, "judging")
	if bar == nil {
		return nil
	}
	return func(p audit.Progress) { bar(p.Images()+p.Apart+p.Duplicates, p.References) }
}
