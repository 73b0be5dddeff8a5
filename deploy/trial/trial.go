package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	binauthz "cloud.google.com/go/binaryauthorization/apiv1"
	containeranalysis "cloud.google.com/go/containeranalysis/apiv1"
	grafeas "cloud.google.com/go/grafeas/apiv1"
	kms "cloud.google.com/go/kms/apiv1"
	"google.golang.org/api/iterator"
	"google.golang.org/api/option"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
)

// prefix begins the name of all that a trial makes, so that a later one finds it.
const prefix = "attestor-trial-"

// grace is how long a call that makes something goes on after an interruption.
const grace = 3 * time.Second

// tearDownTime is how long deleting may take after an interruption.
const tearDownTime = 2 * time.Minute

// clients are the official ones.
type clients struct {
	analysis *containeranalysis.Client
	grafeas  *grafeas.Client
	keys     *kms.KeyManagementClient
	binauthz *binauthz.BinauthzManagementClient
	validate *binauthz.ValidationHelperClient
}

// dial connects with the credentials of the environment, or to an emulator with none.
func dial(ctx context.Context, emulator string) (c clients, err error) {
	var o []option.ClientOption
	if emulator != "" {
		o = []option.ClientOption{
			option.WithEndpoint(emulator), option.WithoutAuthentication(),
			option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())),
		}
	}

	// Each is tried, so that the error names all that fail.
	var errs [4]error
	c.analysis, errs[0] = containeranalysis.NewClient(ctx, o...)
	c.keys, errs[1] = kms.NewKeyManagementClient(ctx, o...)
	c.binauthz, errs[2] = binauthz.NewBinauthzManagementClient(ctx, o...)
	c.validate, errs[3] = binauthz.NewValidationHelperClient(ctx, o...)
	if err := errors.Join(errs[:]...); err != nil {
		return c, errors.Join(fmt.Errorf("connecting: %w", err), c.close())
	}
	c.grafeas = c.analysis.GetGrafeasClient()
	return c, nil
}

func (c clients) close() error {
	var errs []error
	if c.analysis != nil {
		errs = append(errs, c.analysis.Close())
	}
	if c.keys != nil {
		errs = append(errs, c.keys.Close())
	}
	if c.binauthz != nil {
		errs = append(errs, c.binauthz.Close())
	}
	if c.validate != nil {
		errs = append(errs, c.validate.Close())
	}

	return errors.Join(errs...)
}

// A trial asks, and remembers how to delete what it made.
type trial struct {
	clients
	rest    rest
	region  string        // where images are built and deployed; nothing: they are not
	tool    string        // gcloud; nothing: it is not asked
	address string        // of an emulator; nothing: Google is asked
	pause   time.Duration // between two questions about the same
	deploys int
	proxied bool   // a service behind Identity-Aware Proxy is asked, too
	email   string // of the service account that the trial may sign for; nothing: it may for none
	// patience bounds the wait for what need not come.
	patience  time.Duration
	justified string // the service that was deployed by break-glass
	parent    string // projects/PROJECT
	run       string // the name of all that it makes
	lag       time.Duration
	log       io.Writer
	report    report
	undo      []undo
	certain   int  // so many of undo are of things that were made
	lost      bool // an interruption came before an answer: what was asked for may be there, or come to be there
}

// An undo deletes one thing.
type undo struct {
	what string
	do   func(context.Context) error
}

func newTrial(project, emulator string, lag time.Duration, c clients, log io.Writer) *trial {
	against := "google"
	if emulator != "" {
		against = "emulator"
	}
	var id [4]byte
	_, _ = rand.Read(id[:]) // never fails, by its documentation
	return &trial{
		clients: c, pause: 2 * time.Second, parent: "projects/" + project, run: prefix + hex.EncodeToString(id[:]),
		lag: lag, log: log, address: emulator,
		report: report{
			Format: "attestor-trial/1", Against: against, Facts: []fact{}, Left: []string{}, NotAsked: []string{},
		},
	}
}

// later has something deleted in the end. It is called before the thing is made: a call whose answer was lost may have
// made it.
func (t *trial) later(what string, do func(context.Context) error) {
	t.undo = append(t.undo, undo{what, do})
}

// make runs a call that makes something, for which later was called before. An interruption ends it after grace only: a
// deletion that overtook the creation would find nothing, and what is made a moment later would stay.
func (t *trial) make(ctx context.Context, call func(context.Context) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}

	detached, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-detached.Done():
		case <-time.After(grace):
			cancel()
		}
	})
	defer stop()
	if err := call(detached); err != nil {
		t.lost = t.lost || ctx.Err() != nil
		return err
	}

	t.certain = len(t.undo)
	return nil
}

// tearDown deletes in the opposite order, whatever ended the trial, and answers what is left.
func (t *trial) tearDown(ctx context.Context) []string {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tearDownTime)
	defer cancel()

	left := []string{}
	for i, u := range slices.Backward(t.undo) {
		if err := t.remove(ctx, u, t.lost && i >= t.certain); err != nil {
			left = append(left, t.nameless(u.what+": "+err.Error()))
		}
	}
	t.undo, t.certain = nil, 0
	return left
}

// attempts is how often a deletion is tried.
const attempts = 4

// remove deletes one thing. What was never made need not be deleted; but where an interruption left open whether it was,
// it may come to be there a moment later.
func (t *trial) remove(ctx context.Context, u undo, open bool) (err error) {
	for n := 1; ; n++ {
		err = safely(t.log, func() error { return u.do(ctx) })
		gone := status.Code(err) == codes.NotFound || isNotFound(err)
		switch {
		case err == nil || gone && !open:
			return nil
		case n < attempts && t.wait(ctx):
		case gone:
			return nil
		default:
			return err
		}
	}
}

// wait is false where there is no time to wait.
func (t *trial) wait(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(t.pause):
		return true
	}
}

// safely turns a fault of the program into an error: what was made is deleted all the same. The log says where it was,
// and not the report, which has no names of files either.
func safely(log io.Writer, do func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			fmt.Fprintf(log, "%v\n%s", r, debug.Stack())
			err = fmt.Errorf("a fault of the trial itself: %v", r)
		}
	}()
	return do()
}

// nameless has neither the project nor this run's names.
func (t *trial) nameless(text string) string {
	return strings.NewReplacer(t.run, "RUN", strings.TrimPrefix(t.parent, "projects/"), "PROJECT").Replace(text)
}

// found records a fact.
func (t *trial) found(id, question, assumed, found string) {
	found = t.nameless(found)
	t.report.Facts = append(t.report.Facts, fact{id, question, assumed, found, found == assumed})
	mark := "as assumed"
	if found != assumed {
		mark = "DIFFERS, assumed " + assumed
	}
	fmt.Fprintf(t.log, "%-24s %s (%s)\n", id, found, mark)
}

// ask asks everything, and ends with the first thing that stands in the way of the rest.
func (t *trial) ask(ctx context.Context) error {
	if t.rest.http != nil {
		if err := t.enable(ctx); err != nil {
			return fmt.Errorf("enabling: %w", err)
		}
	}
	w, err := t.prepare(ctx)
	if err != nil {
		return fmt.Errorf("preparing: %w", err)
	}

	// The rotation comes after everything that counts attestations by the first key.
	for _, step := range []func(context.Context, *world) error{
		t.askKeys, t.askValidation, t.askAttestations, t.askBatches, t.askLists, t.askNotes, t.askGcloud, t.askRotation,
		t.askIdentities, t.askQuotas, t.askImages,
	} {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("interrupted: %w", err)
		}
		if err := step(ctx, w); err != nil {
			return err
		}
	}

	t.report.Complete = true
	return nil
}

// askImages builds, scans and deploys, where a region was given.
func (t *trial) askImages(ctx context.Context, w *world) error {
	if t.region == "" || t.rest.http == nil {
		return nil
	}

	if err := t.subscribe(ctx); err != nil {
		return fmt.Errorf("subscribing: %w", err)
	}
	images, err := t.buildImages(ctx)
	if err != nil {
		return fmt.Errorf("building: %w", err)
	}
	if err := t.askScans(ctx, images); err != nil {
		return fmt.Errorf("scans: %w", err)
	}
	if err := t.askBuilt(ctx, images); err != nil {
		return fmt.Errorf("what was built: %w", err)
	}

	if err := t.askProxy(ctx, images); err != nil {
		return fmt.Errorf("the proxy: %w", err)
	}
	return t.askDeploys(ctx, w, images)
}

// deleteAttestations deletes what is attached to a note, of this project.
func (t *trial) deleteAttestations(ctx context.Context, note string) error {
	var errs []error
	for it := t.grafeas.ListNoteOccurrences(ctx, &grafeaspb.ListNoteOccurrencesRequest{Name: note}); ; {
		o, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return errors.Join(errs...)
		}
		if err != nil {
			return errors.Join(append(errs, err)...)
		}
		errs = append(errs, t.grafeas.DeleteOccurrence(ctx, &grafeaspb.DeleteOccurrenceRequest{Name: o.GetName()}))
	}
}
