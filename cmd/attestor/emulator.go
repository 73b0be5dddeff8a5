package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/loopback"
	"github.com/attestor-gate/attestor/internal/ociregistry"
	"github.com/attestor-gate/attestor/internal/when"
)

// emulatorFlags is what `attestor emulator` was asked for.
type emulatorFlags struct {
	listen, state   string
	registry        string
	load            []string
	reset, remote   bool
	uniqueness      string
	behaviour       emulator.Behaviour
	denied          []string
	latency, faults []string
	quotas          []string
	behaveLike      string
}

// emulatorCommand is `attestor emulator`: the Google emulators alone.
func emulatorCommand() *cobra.Command {
	var f emulatorFlags
	cmd := &cobra.Command{
		Use:   "emulator",
		Short: "Emulate Container Analysis, Cloud KMS and Binary Authorization",
		Long: `Emulate Container Analysis, Cloud KMS and Binary Authorization on one port,
over gRPC for the client libraries and over REST for gcloud.

It is no security boundary: nobody is authenticated, and private keys are kept
unencrypted. docs/emulator.md says how to point clients at it.`,
		Example: "  attestor emulator --listen 127.0.0.1:9090 --state .emulator --load occurrences.json",
		Args:    noArguments,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := f.likeTrial(cmd.Flags().Changed); err != nil {
				return err
			}
			return runEmulator(cmd.Context(), cmd.ErrOrStderr(), f)
		},
	}

	f.register(cmd)
	return cmd
}

// register adds the flags to a command.
func (f *emulatorFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.listen, "listen", "127.0.0.1:9090", "address for gRPC and REST")
	fl.BoolVar(&f.remote, "allow-remote", false, "allow an address other than loopback")
	fl.StringVar(&f.registry, "registry-listen", "",
		"serve a registry at this `ADDRESS` too, which Artifact Registry's API then describes; none by default")
	fl.StringVar(&f.state, "state", "", "directory that keeps everything across restarts (default: memory)")
	fl.StringArrayVar(&f.load, "load", nil,
		"file of occurrences and notes, as gcloud or the API print them (repeatable)")
	fl.BoolVar(&f.reset, "reset", false, "empty the state first")
	fl.StringVar(&f.uniqueness, "uniqueness", emulator.UniqueNoteAndResource.String(),
		"what makes an attestation a duplicate: none, note+resource or note+resource+payload")
	fl.BoolVar(&f.behaviour.RefuseCreates, "refuse-creates", false, "refuse to create occurrences")
	fl.BoolVar(&f.behaviour.RefuseUpdates, "refuse-updates", false, "refuse to update occurrences")
	fl.BoolVar(&f.behaviour.RefuseDeletes, "refuse-deletes", false, "refuse to delete occurrences")
	fl.BoolVar(&f.behaviour.RefuseBatches, "refuse-batches", false, "refuse to create several occurrences by one call")
	fl.IntVar(&f.behaviour.PartialBatches, "partial-batches", 0,
		"store the first n occurrences of a batch only, and fail it")
	fl.BoolVar(&f.behaviour.RefuseUnions, "refuse-unions", false, "refuse filters over several images")
	fl.Var((*when.Duration)(&f.behaviour.ListLag), "list-lag", "how long new occurrences stay out of lists")
	fl.IntVar(&f.behaviour.EmptyPages, "empty-pages", 0,
		"make every n-th page of occurrences an empty one with a token")
	fl.StringSliceVar(&f.behaviour.Unreachable, "unreachable", nil,
		"locations that lists of whole projects do not reach")
	fl.BoolVar(&f.behaviour.NoProviderNotes, "no-provider-notes", false,
		"refuse occurrences for notes of goog-* and verified-builder that nobody created")
	fl.StringArrayVar(&f.denied, "deny", nil, "PERMISSION or PERMISSION@RESOURCE that nobody has (repeatable)")
	fl.BoolVar(&f.behaviour.EnforceIAM, "enforce-iam", false,
		"decide by the IAM policies that were written; the caller is what the bearer token says, owner may do all")
	fl.StringArrayVar(&f.quotas, "quota", nil,
		"METHOD=CALLS/DURATION, as in AsymmetricSign=60/1m, beyond which calls are RESOURCE_EXHAUSTED (repeatable)")
	fl.StringVar(&f.behaveLike, "behave-like", "",
		"behave as the live services did in the report of deploy/trial in this `FILE`; other flags come first")
	fl.StringArrayVar(&f.latency, "latency", nil, "METHOD=DURATION added to calls, * for every method (repeatable)")
	fl.StringArrayVar(&f.faults, "fault", nil,
		"METHOD=CODE[:COUNT] answered to calls, as in AsymmetricSign=UNAVAILABLE:3 (repeatable)")
}

func runEmulator(ctx context.Context, stderr io.Writer, f emulatorFlags) (err error) {
	rules, err := f.parse()
	if err != nil {
		return err
	}
	registry, err := f.openRegistry()
	if err != nil {
		return stateProblem(f.state, err)
	}
	e, err := emulator.New(emulator.Options{
		StateDir: f.state, Reset: f.reset, Behaviour: f.behaviour, Registry: registry,
	})
	if err != nil {
		return stateProblem(f.state, err)
	}
	defer func() { err = errors.Join(err, e.Close()) }()

	// Files are loaded before the port is opened, so that no client sees a half of them.
	for _, path := range f.load {
		n, err := loadFile(e, path)
		if err != nil {
			return emulatorUsage("%v", err)
		}
		fmt.Fprintf(stderr, "loaded from %s: %s\n", path, describe.Plural(n, "object"))
	}

	// Faults are in force before the first call can come.
	for _, r := range rules {
		e.Inject(r)
	}

	// The port is opened last: whoever connects finds everything loaded.
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", f.listen)
	if err != nil {
		return portTaken("--listen", f.listen, err)
	}
	closeRegistry, err := f.serveRegistry(ctx, stderr, registry)
	if err != nil {
		return errors.Join(err, l.Close())
	}
	defer func() { err = errors.Join(err, closeRegistry()) }()

	fmt.Fprintf(stderr, `Container Analysis, Cloud KMS and Binary Authorization on %[1]s, gRPC and REST
This is no security boundary: nobody is authenticated, keys are not protected.
Point attestor at it:
  export CONTAINERANALYSIS_EMULATOR_HOST=%[1]s CLOUD_KMS_EMULATOR_HOST=%[1]s BINARYAUTHORIZATION_EMULATOR_HOST=%[1]s
attestor: ready
`, l.Addr())
	return e.Serve(ctx, l)
}

// openRegistry is the registry that was asked for, or nil.
func (f *emulatorFlags) openRegistry() (http.Handler, error) {
	if f.registry == "" {
		return nil, nil
	}
	dir := under(f.state, "registry")
	if f.reset && dir != "" {
		if err := os.RemoveAll(dir); err != nil {
			return nil, err
		}
	}
	return ociregistry.New(dir)
}

// serveRegistry serves it until the function that it returns is called.
func (f *emulatorFlags) serveRegistry(
	ctx context.Context,
	stderr io.Writer,
	registry http.Handler,
) (stop func() error, err error) {
	if registry == nil {
		return func() error { return nil }, nil
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", f.registry)
	if err != nil {
		return nil, portTaken("--registry-listen", f.registry, err)
	}

	// Closing waits for Serve to end, so that no goroutine is left behind.
	srv := &http.Server{Handler: registry, ReadHeaderTimeout: 10 * time.Second}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	fmt.Fprintf(stderr, "a registry on %s; PROJECT/REPOSITORY/IMAGE in it is in Artifact Registry\n", l.Addr())
	return func() error {
		err := srv.Close()
		if e := <-done; !errors.Is(e, http.ErrServerClosed) {
			err = errors.Join(err, e)
		}
		return err
	}, nil
}

// checkAddresses refuses addresses that others could reach, unless they are asked for.
func (f *emulatorFlags) checkAddresses() error {
	for flag, address := range map[string]string{"--listen": f.listen, "--registry-listen": f.registry} {
		if flag == "--registry-listen" && address == "" {
			continue
		}
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return emulatorUsage("%s %q is not HOST:PORT", flag, address)
		}
		if !f.remote && !loopback.Host(host) {
			return &attestor.Error{
				Kind: attestor.Invalid,
				Msg: fmt.Sprintf("%s %s is not a loopback address, and the emulator authenticates nobody", flag,
					address),
				Fix: "listen on 127.0.0.1, or add --allow-remote",
			}
		}
	}
	return nil
}

// parse checks the flags, and makes rules of those for faults.
func (f *emulatorFlags) parse() (rules []emulator.Fault, err error) {
	if err := f.checkAddresses(); err != nil {
		return nil, err
	}

	if f.behaviour.Uniqueness, err = emulator.ParseUniqueness(f.uniqueness); err != nil {
		return nil, emulatorUsage("--uniqueness: %v", err)
	}
	if f.behaviour.EmptyPages < 0 {
		return nil, emulatorUsage("--empty-pages must not be negative")
	}

	// A denial without a resource is about the permission everywhere.
	for _, d := range f.denied {
		permission, resource, _ := strings.Cut(d, "@")
		f.behaviour.Denied = append(f.behaviour.Denied, emulator.Denial{Permission: permission, Resource: resource})
	}
	for _, s := range f.quotas {
		q, err := parseQuota(s)
		if err != nil {
			return nil, err
		}
		f.behaviour.Quotas = append(f.behaviour.Quotas, q)
	}
	for _, s := range f.latency {
		method, value, _ := strings.Cut(s, "=")
		d, err := when.ParseDuration(value)
		if err != nil || method == "" {
			return nil, emulatorUsage("--latency %q is not METHOD=DURATION, such as *=50ms", s)
		}
		rules = append(rules, emulator.Fault{Method: anyMethod(method), Latency: d})
	}

	for _, s := range f.faults {
		r, err := parseFault(s)
		if err != nil {
			return nil, err
		}
		rules = append(rules, r)
	}
	return rules, nil
}

// likeTrial takes over what a trial found, but for what a flag says.
func (f *emulatorFlags) likeTrial(given func(flag string) bool) error {
	if f.behaveLike == "" {
		return nil
	}
	file, err := os.Open(f.behaveLike)
	if err != nil {
		return emulatorUsage("--behave-like: %v", err)
	}
	defer file.Close()
	found, err := emulator.ReadBehaviour(file)
	if err != nil {
		return emulatorUsage("--behave-like %s: %v", f.behaveLike, err)
	}

	// Only what no flag says is taken over.
	if !given("uniqueness") {
		f.uniqueness = found.Uniqueness.String()
	}
	if !given("refuse-updates") {
		f.behaviour.RefuseUpdates = found.RefuseUpdates
	}
	if !given("refuse-deletes") {
		f.behaviour.RefuseDeletes = found.RefuseDeletes
	}
	if !given("refuse-batches") {
		f.behaviour.RefuseBatches = found.RefuseBatches
	}
	if !given("refuse-unions") {
		f.behaviour.RefuseUnions = found.RefuseUnions
	}
	if !given("list-lag") {
		f.behaviour.ListLag = found.ListLag
	}
	if !given("empty-pages") {
		f.behaviour.EmptyPages = found.EmptyPages
	}
	if !given("no-provider-notes") {
		f.behaviour.NoProviderNotes = found.NoProviderNotes
	}
	if !given("quota") {
		f.behaviour.Quotas = found.Quotas
	}
	return nil
}

// parseQuota reads METHOD=CALLS/DURATION.
func parseQuota(s string) (emulator.Quota, error) {
	method, value, _ := strings.Cut(s, "=")
	calls, per, _ := strings.Cut(value, "/")
	n, err := strconv.Atoi(calls)
	d, perErr := when.ParseDuration(per)
	if err != nil || perErr != nil || method == "" || n < 1 || d <= 0 {
		return emulator.Quota{}, emulatorUsage("--quota %q is not METHOD=CALLS/DURATION, such as AsymmetricSign=60/1m",
			s)
	}
	return emulator.Quota{Method: anyMethod(method), Limit: n, Per: d}, nil
}

func anyMethod(m string) string {
	if m == "*" {
		return ""
	}
	return m
}

func parseFault(s string) (emulator.Fault, error) {
	method, value, _ := strings.Cut(s, "=")
	name, count, counted := strings.Cut(value, ":")
	f := emulator.Fault{Method: anyMethod(method)}
	err := f.Code.UnmarshalJSON([]byte(strconv.Quote(name)))
	if err == nil && counted {
		f.Count, err = strconv.Atoi(count)
	}

	if err != nil || method == "" || f.Code == codes.OK || counted && f.Count < 1 {
		return f, emulatorUsage("--fault %q is not METHOD=CODE[:COUNT], with a code such as UNAVAILABLE", s)
	}
	return f, nil
}

func loadFile(e *emulator.Emulator, path string) (n int, err error) {
	r, err := os.Open(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, r.Close()) }()

	if n, err = e.Load(r); err != nil {
		return 0, fmt.Errorf("%s: %w", path, err)
	}
	return n, nil
}

func emulatorUsage(format string, args ...any) error {
	return &attestor.Error{
		Kind: attestor.Invalid,
		Msg:  fmt.Sprintf(format, args...),
		Fix:  "see attestor emulator --help",
	}
}
