package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/loopback"
	"github.com/attestor-gate/attestor/internal/when"
)

// emulatorFlags is what `attestor emulator` was asked for.
type emulatorFlags struct {
	listen, state   string
	load            []string
	reset, remote   bool
	uniqueness      string
	behaviour       emulator.Behaviour
	denied          []string
	latency, faults []string
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
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			return runEmulator(cmd.Context(), cmd.ErrOrStderr(), f)
		},
	}

	fl := cmd.Flags()
	fl.StringVar(&f.listen, "listen", "127.0.0.1:9090", "address for gRPC and REST")
	fl.BoolVar(&f.remote, "allow-remote", false, "allow an address other than loopback")
	fl.StringVar(&f.state, "state", "", "directory that keeps everything across restarts (default: memory)")
	fl.StringArrayVar(&f.load, "load", nil,
		"file of occurrences and notes, as gcloud or the API print them (repeatable)")
	fl.BoolVar(&f.reset, "reset", false, "empty the state first")
	fl.StringVar(&f.uniqueness, "uniqueness", emulator.UniqueNoteAndResource.String(),
		"what makes an attestation a duplicate: none, note+resource or note+resource+payload")
	fl.BoolVar(&f.behaviour.RefuseCreates, "refuse-creates", false, "refuse to create occurrences")
	fl.BoolVar(&f.behaviour.RefuseUpdates, "refuse-updates", false, "refuse to update occurrences")
	fl.BoolVar(&f.behaviour.RefuseDeletes, "refuse-deletes", false, "refuse to delete occurrences")
	fl.Var((*when.Duration)(&f.behaviour.ListLag), "list-lag", "how long new occurrences stay out of lists")
	fl.IntVar(&f.behaviour.EmptyPages, "empty-pages", 0,
		"make every n-th page of occurrences an empty one with a token")
	fl.StringSliceVar(&f.behaviour.Unreachable, "unreachable", nil,
		"locations that lists of whole projects do not reach")
	fl.BoolVar(&f.behaviour.NoProviderNotes, "no-provider-notes", false,
		"refuse occurrences for notes of goog-* and verified-builder that nobody created")
	fl.StringArrayVar(&f.denied, "deny", nil, "PERMISSION or PERMISSION@RESOURCE that nobody has (repeatable)")
	fl.StringArrayVar(&f.latency, "latency", nil, "METHOD=DURATION added to calls, * for every method (repeatable)")
	fl.StringArrayVar(&f.faults, "fault", nil,
		"METHOD=CODE[:COUNT] answered to calls, as in AsymmetricSign=UNAVAILABLE:3 (repeatable)")
	return cmd
}

func runEmulator(ctx context.Context, stderr io.Writer, f emulatorFlags) (err error) {
	rules, err := f.parse()
	if err != nil {
		return err
	}
	e, err := emulator.New(emulator.Options{StateDir: f.state, Reset: f.reset, Behaviour: f.behaviour})
	if err != nil {
		return stateProblem(f.state, err)
	}
	defer func() { err = errors.Join(err, e.Close()) }()

	for _, path := range f.load {
		n, err := loadFile(e, path)
		if err != nil {
			return emulatorUsage("%v", err)
		}
		fmt.Fprintf(stderr, "loaded %d occurrences and notes from %s\n", n, path)
	}

	for _, r := range rules {
		e.Inject(r)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", f.listen)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}

	fmt.Fprintf(stderr, `Container Analysis, Cloud KMS and Binary Authorization on %[1]s, gRPC and REST
This is no security boundary: nobody is authenticated, keys are not protected.
Point attestor at it:
  export CONTAINERANALYSIS_EMULATOR_HOST=%[1]s CLOUD_KMS_EMULATOR_HOST=%[1]s BINARYAUTHORIZATION_EMULATOR_HOST=%[1]s
attestor: ready
`, l.Addr())
	return e.Serve(ctx, l)
}

// parse checks the flags, and makes rules of those for faults.
func (f *emulatorFlags) parse() ([]emulator.Fault, error) {
	host, _, err := net.SplitHostPort(f.listen)
	if err != nil {
		return nil, emulatorUsage("--listen %q is not HOST:PORT", f.listen)
	}
	if !f.remote && !loopback.Host(host) {
		return nil, &attestor.Error{
			Kind: attestor.Invalid, Msg: fmt.Sprintf("--listen %s is not a loopback address, and the emulator authenticates nobody", f.listen),
			Fix: "listen on 127.0.0.1, or add --allow-remote",
		}
	}

	if f.behaviour.Uniqueness, err = emulator.ParseUniqueness(f.uniqueness); err != nil {
		return nil, emulatorUsage("--uniqueness: %v", err)
	}
	if f.behaviour.EmptyPages < 0 {
		return nil, emulatorUsage("--empty-pages must not be negative")
	}

	for _, d := range f.denied {
		permission, resource, _ := strings.Cut(d, "@")
		f.behaviour.Denied = append(f.behaviour.Denied, emulator.Denial{Permission: permission, Resource: resource})
	}
	var rules []emulator.Fault
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
