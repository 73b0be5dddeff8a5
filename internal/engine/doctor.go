package engine

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	artifactregistry "cloud.google.com/go/artifactregistry/apiv1"
	"cloud.google.com/go/iam/apiv1/iampb"
	kms "cloud.google.com/go/kms/apiv1"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/internal/probe"
	"github.com/attestor-gate/attestor/internal/resource"
	"github.com/attestor-gate/attestor/internal/throttle"
	"github.com/attestor-gate/attestor/policy"
	"github.com/attestor-gate/attestor/verify"
)

const (
	// probesAtOnce is how many dependencies are asked at the same time.
	probesAtOnce = 16
	// clockSkew is how far this machine's clock may be off. Tokens bear a minute; the time of a decision should be
	// right to seconds.
	clockSkew = 10 * time.Second
	// collectorFor bounds the connection to a collector of traces.
	collectorFor = 3 * time.Second
)

// Examine asks everything that a gate by this configuration depends on, each thing by itself, so that one that is down
// hides no other. It stores, signs and changes nothing: it does not open the record as a gate does, which would bring
// its schema up to date. The error is about the configuration; what is wrong with a dependency is in its result.
func Examine(ctx context.Context, o Options) ([]probe.Result, error) {
	set, err := policy.Load(o.Config.Policies...)
	if err != nil {
		set = &policy.Set{} // the result about the policies says why
	}
	o.policies = policy.Unwatched(set, err)

	// An open circuit would answer in the place of the dependency.
	o.Config.Dependencies.Outages = math.MaxInt32
	examined := o.Config
	o.Config.Store, o.Config.Log = config.Store{None: true}, nil

	e, err := New(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { _ = e.Close() }() // nothing was stored

	// The examination itself writes nothing, and asks about the record and the log that the service would have.
	e.Config = examined
	who, err := newIdentity(ctx, e.Config.Identity, e.log)
	if err != nil {
		return nil, err
	}
	e.teams = who.teams

	var questions []func() []probe.Result
	for _, c := range e.checks(who.issuers) {
		ask := c.ask
		if c.name == record {
			ask = e.probeDatabase
		}
		questions = append(questions, func() []probe.Result { return ask(ctx) })
	}
	return probe.Together(probesAtOnce, questions), nil
}

// probeDatabase asks the record's database without opening the record.
func (e *Engine) probeDatabase(ctx context.Context) []probe.Result {
	var c audit.Config
	read := probe.Ask("record", e.Config.Store.Postgres, "the connection string can be read", 0, func() (err error) {
		c, err = recordOf(e.Config.Store)
		return err
	})
	if read.Err != nil {
		return []probe.Result{read}
	}
	return audit.Probe(ctx, c)
}

// probeLogKey asks for the key of the record's log. Decisions are recorded without it, and have no proof until it
// signs.
func (e *Engine) probeLogKey(ctx context.Context) []probe.Result {
	use := func(_ context.Context, f func(*kms.KeyManagementClient) error) error { return f(e.Google.KMS) }
	l := logKey(e.Config, use)
	if l == nil {
		return nil
	}

	const dependency = "log key"
	question := limit.Within(e.Config.Limits.Settle, e.Config.Dependencies.Timeouts.KMS)
	version, inKMS := strings.CutPrefix(e.Config.Log.Key, kmsScheme)
	toRead := "it can be read"
	if inKMS {
		toRead = "cloudkms.cryptoKeyVersions.viewPublicKey"
	}
	out := []probe.Result{probe.Ask(dependency, e.Config.Log.Key, toRead, question.Duration(), func() error {
		_, err := l.Key(ctx)
		return permitted("the log's key "+e.Config.Log.Key, "roles/cloudkms.signerVerifier on the key", err)
	})}

	// Signing is a permission of its own, and asking for it signs nothing.
	if inKMS && out[0].Err == nil {
		key, _, _ := strings.Cut(version, "/cryptoKeyVersions/")
		const sign = "cloudkms.cryptoKeyVersions.useToSign"
		out = append(out, probe.Ask(dependency, e.Config.Log.Key, sign, question.Duration(), func() error {
			ctx, cancel := question.Start(ctx)
			defer cancel()
			resp, err := e.Google.KMS.TestIamPermissions(ctx,
				&iampb.TestIamPermissionsRequest{Resource: key, Permissions: []string{sign}})
			return granted(resp.GetPermissions(), sign, key, "roles/cloudkms.signerVerifier", err)
		}))
	}

	// Decisions are recorded without a signature.
	for i := range out {
		out[i].Informational = true
	}
	return out
}

const (
	keptNowhere = "no checkpoint of the record's log is kept outside of its database: after the database was put back, " +
		"the gate would sign a second history, and nothing would show it"
	keepElsewhere = "set log.bucket or log.witnesses"

	// LogKeptNowhere is what whoever starts a gate is told where [config.Log.KeptNowhere].
	LogKeptNowhere = keptNowhere + "; " + keepElsewhere
)

// probeLogKept reports whether somebody could show that the record was put back.
func (e *Engine) probeLogKept(context.Context) []probe.Result {
	l := e.Config.Log
	if l == nil {
		return nil
	}
	r := probe.Ask("log", l.Origin, "a checkpoint of it is kept outside of its database", 0, func() error {
		if l.KeptNowhere() {
			return &attestor.Error{Kind: attestor.Invalid, Msg: keptNowhere, Fix: keepElsewhere}
		}
		return nil
	})
	r.Informational = true // images are decided on all the same

	return []probe.Result{r}
}

// probeAttestationProjects asks which rights there are on the projects that attestations are stored in. No call of
// Container Analysis answers that; Resource Manager does, where its API is enabled.
func (e *Engine) probeAttestationProjects(ctx context.Context) []probe.Result {
	permissions := []string{
		"containeranalysis.occurrences.create", "containeranalysis.occurrences.get",
		"containeranalysis.occurrences.delete",
	}
	var projects []string
	for _, a := range e.Config.Attestors {
		project := a.Project
		if project == "" {
			project = strings.Split(a.Name, "/")[1] // the configuration was checked: projects/P/attestors/A
		}
		projects = append(projects, project)
	}

	var out []probe.Result

	// Many attestors share a project: each is asked about once.
	for _, project := range slices.Compact(slices.Sorted(slices.Values(projects))) {
		question := limit.Within(e.Config.Limits.Settle, e.Config.Dependencies.Timeouts.ContainerAnalysis)
		var held []string
		asked := probe.Ask("Container Analysis", "project "+project, strings.Join(permissions, ", "),
			question.Duration(),
			func() (err error) {
				ctx, cancel := question.Start(ctx)
				defer cancel()
				held, err = google.ProjectPermissions(ctx, e.o.Emulators.Analysis, project, permissions)
				return err
			})
		if asked.Err != nil {
			asked.Informational, asked.Err = true, unasked(project, asked.Err)
			out = append(out, asked)
			continue
		}

		// One answer is reported as one result for each permission.
		for _, permission := range permissions {
			one := asked
			one.Question = permission
			one.Err = granted(held, permission, "project "+project, "roles/containeranalysis.occurrences.editor", nil)
			out = append(out, one)
		}
	}
	return out
}

// probeScans asks for scans in every project that the configuration or a policy names.
func (e *Engine) probeScans(ctx context.Context) []probe.Result {
	var projects []string
	for _, project := range e.Config.ScanProjects {
		projects = append(projects, project)
	}

	for _, prefix := range e.literalImages() {
		img, err := attestor.ParseImage(prefix + "/image@sha256:" + strings.Repeat("0", 64))
		if err != nil {
			continue
		}
		if project, err := resource.Project(img, e.Config.ScanProjects); err == nil {
			projects = append(projects, project)
		}
	}

	return e.scanner.Probe(ctx, projects)
}

// literalImages are the beginnings of policies' image patterns, up to the first segment with a wildcard.
func (e *Engine) literalImages() []string {
	var out []string
	for _, p := range e.Policies.Set().All() {
		for _, pattern := range p.Images() {
			var literal []string
			for segment := range strings.SplitSeq(pattern.String(), "/") {
				if strings.ContainsAny(segment, "*?[") {
					break
				}
				literal = append(literal, segment)
			}
			if len(literal) > 1 {
				out = append(out, strings.Join(literal, "/"))
			}
		}
	}

	return slices.Compact(slices.Sorted(slices.Values(out)))
}

// probeRegistries asks each registry whether it answers, and what time it is there. Any answer of the registry's API
// will do: what may be read is asked of each base and repository.
func (e *Engine) probeRegistries(ctx context.Context) []probe.Result {
	question := limit.Within(e.Config.Limits.Deadline, e.Config.Dependencies.Timeouts.Registries)
	var questions []func() []probe.Result
	for _, host := range e.Config.Registries.Hosts() {
		if strings.Contains(host, "*") {
			continue // hosts that it stands for are known only from images
		}
		questions = append(questions, func() []probe.Result {
			var date time.Time
			asked := probe.Ask("registry", host, "it answers", question.Duration(), func() (err error) {
				ctx, cancel := question.Start(ctx)
				defer cancel()
				date, err = e.askRegistry(ctx, host)
				return err
			})

			// Any answer with a date shows the clock, an error too.
			out := []probe.Result{asked}
			if !date.IsZero() {
				out = append(out, probe.Ask("clock", "this machine", "its time is that of "+host, 0, func() error {
					return apart(time.Now(), date, host)
				}))
			}
			return out
		})
	}
	return probe.Together(probesAtOnce, questions)
}

// askRegistry asks for /v2/, by which the OCI distribution specification has clients find out what a registry is. It
// returns the answer's date; the zero time: it has none.
func (e *Engine) askRegistry(ctx context.Context, host string) (time.Time, error) {
	reg, err := name.NewRegistry(host, e.Inspector.NameOptions(host)...)
	if err != nil {
		return time.Time{}, err
	}
	url := reg.Scheme() + "://" + reg.RegistryStr() + "/v2/"
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return time.Time{}, err
	}

	resp, err := e.Inspector.Transport().RoundTrip(req)

	// Busy is an answer: the registry is there.
	if _, busy := errors.AsType[*throttle.Error](err); busy {
		return time.Time{}, &attestor.Error{
			Kind: attestor.Unavailable, Msg: "registry " + host + " asks for a later retry", Err: err,
			Fix: "ask more slowly, or raise the registry's quota for the gate",
		}
	}
	if err != nil {
		return time.Time{}, &attestor.Error{
			Kind: attestor.Unavailable, Msg: "registry " + host + " does not answer", Err: err,
			Fix: "check the host in registries.allowed, and that the gate's network reaches it: curl -i " + url,
		}
	}
	defer resp.Body.Close()

	date, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		date = time.Time{} // the header is optional
	}
	// 401 asks for credentials, which only a repository needs.
	if resp.StatusCode == http.StatusOK || resp.StatusCode == http.StatusUnauthorized {
		return date, nil
	}
	wrong := &attestor.Error{
		Kind: attestor.Upstream, Msg: fmt.Sprintf("registry %s answers GET /v2/ with %s", host, resp.Status),
		Fix: "check that the host in registries.allowed is a registry: curl -i " + url,
	}
	if resp.StatusCode >= http.StatusInternalServerError {
		wrong.Kind, wrong.Fix = attestor.Unavailable, "try again; if it persists, find out why the registry fails: curl -i "+url
	}
	return date, wrong
}

// apart reports clocks that differ by more than is allowed. Date has whole seconds.
func apart(here, there time.Time, host string) error {
	by := here.Sub(there).Round(time.Second)
	if by.Abs() <= clockSkew {
		return nil
	}

	direction := "ahead of"
	if by < 0 {
		direction = "behind"
	}

	return &attestor.Error{
		Kind: attestor.Invalid,
		Msg: fmt.Sprintf("this machine's clock is %v %s that of %s, and %v is allowed: tokens are refused and "+
			"times are wrong",
			by.Abs(), direction, host, clockSkew),
		Fix: "set the clock by the network: timedatectl set-ntp true",
	}
}

// probeBases looks up every tag of an approved base, as an image on it makes the gate do.
func (e *Engine) probeBases(ctx context.Context) []probe.Result {
	// Approved bases of several policies may share a tag: it is looked up once.
	question := limit.Within(e.Config.Limits.Deadline, e.Config.Dependencies.Timeouts.Registries)
	var tags []string
	for _, p := range e.Policies.Set().All() {
		for _, b := range p.Needs().Bases {
			for _, tag := range b.Tags {
				tags = append(tags, b.Repository+":"+tag)
			}
		}
	}

	var questions []func() []probe.Result
	for _, tag := range slices.Compact(slices.Sorted(slices.Values(tags))) {
		questions = append(questions, func() []probe.Result {
			asked := probe.Ask("base image", tag, "its tag can be read", question.Duration(), func() error {
				ctx, cancel := question.Start(ctx)
				defer cancel()

				ref, err := attestor.ParseReference(tag)
				if err == nil {
					_, err = e.Inspector.Pin(ctx, ref)
				}
				return err
			})
			return []probe.Result{asked}
		})
	}
	return probe.Together(probesAtOnce, questions)
}

// probeRepositories asks Artifact Registry for the rights on each repository that a policy names.
func (e *Engine) probeRepositories(ctx context.Context) []probe.Result {
	var names []string
	for _, prefix := range e.literalImages() {
		if repository, _, ok := verify.ArtifactRepository(prefix); ok {
			names = append(names, repository)
		}
	}
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	if len(names) == 0 || e.Google.Emulated { // it is not emulated, and the real one must not be asked
		return nil
	}

	guard := guardGoogle(e.Config.Dependencies.Timeouts, e.calls)
	client, err := artifactregistry.NewClient(ctx, guard.Options(google.ServiceRegistry, "")...)
	if err != nil {
		return []probe.Result{{Dependency: google.ServiceRegistry, Subject: names[0],
			Question: "it can be asked", Err: permitted(names[0], "roles/artifactregistry.reader on "+names[0], err)}}
	}
	defer func() { _ = client.Close() }()
	return probeRepositories(ctx, client, names, limit.Within(e.Config.Limits.Deadline,
		e.Config.Dependencies.Timeouts.ArtifactRegistry))
}

// probeRepositories asks for what reading images and their upload times takes.
func probeRepositories(
	ctx context.Context, client *artifactregistry.Client, names []string, question limit.Call,
) []probe.Result {
	permissions := []string{"artifactregistry.repositories.downloadArtifacts", "artifactregistry.dockerimages.get"}
	var questions []func() []probe.Result
	for _, repository := range names {
		questions = append(questions, func() []probe.Result {
			var held []string
			what := strings.Join(permissions, ", ")
			asked := probe.Ask(google.ServiceRegistry, repository, what, question.Duration(), func() error {
				ctx, cancel := question.Start(ctx)
				defer cancel()
				resp, err := client.TestIamPermissions(ctx,
					&iampb.TestIamPermissionsRequest{Resource: repository, Permissions: permissions})
				held = resp.GetPermissions()
				return permitted(repository, "roles/artifactregistry.reader on "+repository, err)
			})
			if asked.Err != nil {
				return []probe.Result{asked}
			}

			// One answer is reported as one result for each permission.
			var out []probe.Result
			for _, permission := range permissions {
				one := asked
				one.Question = permission
				one.Err = granted(held, permission, repository, "roles/artifactregistry.reader", nil)
				out = append(out, one)
			}
			return out
		})
	}
	return probe.Together(probesAtOnce, questions)
}

// probeTopic asks whether the gate may publish to its own topic.
func (e *Engine) probeTopic(ctx context.Context) []probe.Result {
	const publish = "pubsub.topics.publish"
	question, topic := limit.Call(e.Config.Dependencies.Timeouts.PubSub), e.Config.Rejudge.Topic
	switch {
	case e.noTopic != nil:
		return []probe.Result{{Dependency: google.ServicePubSub, Subject: topic, Question: publish, Err: e.noTopic}}
	case e.topic == nil:
		return nil
	}
	return []probe.Result{probe.Ask(google.ServicePubSub, topic, publish, question.Duration(), func() error {
		ctx, cancel := question.Start(ctx)
		defer cancel()
		resp, err := e.topic.client.TopicAdminClient.TestIamPermissions(ctx,
			&iampb.TestIamPermissionsRequest{Resource: topic, Permissions: []string{publish}})
		return granted(resp.GetPermissions(), publish, topic, "roles/pubsub.publisher", err)
	})}
}

// probeCollector connects to the collector of traces. Without it traces are lost, and nothing else.
func (e *Engine) probeCollector(ctx context.Context) []probe.Result {
	o := e.Config.Telemetry.OTLP
	if o == nil {
		return nil
	}

	// A connection shows that somebody listens; the export itself is not tried.
	r := probe.Ask("trace collector", o.Endpoint, "it can be connected to", collectorFor, func() error {
		ctx, cancel := context.WithTimeout(ctx, collectorFor)
		defer cancel()
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", o.Endpoint)
		if err != nil {
			return &attestor.Error{
				Kind: attestor.Unavailable, Msg: "the trace collector does not answer, so that traces are lost",
				Err: err,
				Fix: "start the collector, or correct telemetry.otlp in the configuration",
			}
		}
		return conn.Close()
	})

	r.Informational = true
	return []probe.Result{r}
}
