package vuln

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	grafeas "cloud.google.com/go/grafeas/apiv1"
	"github.com/googleapis/gax-go/v2"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/internal/resource"
)

const (
	uploadBatch    = 500 // occurrences in one call
	uploadParallel = 8   // calls at the same time
)

// UploadConfig says where imported occurrences go.
type UploadConfig struct {
	Client   *grafeas.Client    // required
	Project  string             // of the occurrences: the image's, or one that the policy lists in scan.projects
	Limit    limit.Call         // of one question; 0: [limit.Default]
	Progress func(done, of int) // nil: not reported
}

// Uploaded is what an upload did.
type Uploaded struct {
	Discovery string // the occurrence that says the scan is complete
	Created   int    // findings' occurrences
	Replaced  int    // of an earlier import for the same image and note, deleted
}

// Upload stores an imported report. An earlier import for the same image and note is
// replaced. While Upload works, the scan reads as running, and it stays so if Upload
// fails half-way: no reader takes a part for the whole, and repeating it completes it.
func Upload(ctx context.Context, c UploadConfig, in Imported) (Uploaded, error) {
	c.Project = strings.TrimPrefix(c.Project, "projects/")
	if c.Client == nil || c.Project == "" || in.Discovery == nil {
		return Uploaded{}, errors.New("storing a report: a client, a project and an imported report are required")
	}
	u := uploader{c: c, in: in}
	if err := u.notes(ctx); err != nil {
		return Uploaded{}, err
	}

	// The order is what keeps a reader from taking a part for the whole: the scan
	// reads as running before the first finding is stored, and as complete when the
	// last one of the earlier import is gone.
	old, err := u.earlier(ctx)
	if err != nil {
		return Uploaded{}, err
	}

	discovery, err := u.begin(ctx, old.discoveries)
	if err != nil {
		return Uploaded{}, err
	}

	if err := u.create(ctx); err != nil {
		return Uploaded{}, err
	}
	if err := u.remove(ctx, old.findings); err != nil {
		return Uploaded{}, err
	}

	if err := u.state(ctx, discovery, in.Discovery); err != nil {
		return Uploaded{}, err
	}
	return Uploaded{
		Discovery: discovery, Created: len(in.Vulnerabilities) + len(in.Secrets), Replaced: len(old.findings),
	}, nil
}

type uploader struct {
	c  UploadConfig
	in Imported
}

// notes creates the notes that do not exist. One that exists is kept as it is: other
// images may use it.
func (u uploader) notes(ctx context.Context) error {
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(uploadParallel)
	for _, name := range slices.Sorted(maps.Keys(u.in.Notes)) {
		group.Go(func() error {
			n, _ := resource.ParseName("notes", name)
			op := analysis("create notes", n.Project, notesEditor)
			req := &grafeaspb.CreateNoteRequest{Parent: "projects/" + n.Project, NoteId: n.ID, Note: u.in.Notes[name]}
			err := op.call(ctx, u.c.Limit, func(ctx context.Context, opts ...gax.CallOption) error {
				_, err := u.c.Client.CreateNote(ctx, req, opts...)
				return err
			})
			if status.Code(err) == codes.AlreadyExists {
				return nil
			}
			return err
		})
	}

	return group.Wait()
}

// earlier holds the names of the occurrences of an earlier import.
type earlier struct{ discoveries, findings []string }

func (u uploader) earlier(ctx context.Context) (earlier, error) {
	uris := resource.URIs(u.in.Target.Image)
	s := Scanner{c: Config{Client: u.c.Client, Limit: u.c.Limit}}
	filter := resource.Filter([]string{"VULNERABILITY", "DISCOVERY", "SECRET"}, uris)

	// Only what an import under the same note wrote is replaced: the marker separates
	// its findings from those of other scanners under the same notes.
	var out earlier
	_, err := s.pages(ctx, u.c.Project, filter, maxPages, func(o *grafeaspb.Occurrence) error {
		switch {
		case !slices.Contains(uris, o.GetResourceUri()):
		case o.GetDiscovery() != nil && o.GetNoteName() == u.in.Target.Note:
			out.discoveries = append(out.discoveries, o.GetName())
		case o.GetVulnerability().GetExtraDetails() == marker(u.in.Target.Note):
			out.findings = append(out.findings, o.GetName())
		case o.GetSecret() != nil && o.GetNoteName() == secretsNote(u.in.Target.Note):
			out.findings = append(out.findings, o.GetName())
		}
		return nil
	})
	return out, err
}

// begin makes one discovery say that the scan is running, and removes the others.
func (u uploader) begin(ctx context.Context, old []string) (string, error) {
	// An import that is cut off leaves the scan running, which no policy passes.
	running := proto.CloneOf(u.in.Discovery)
	running.GetDiscovery().AnalysisStatus = grafeaspb.DiscoveryOccurrence_SCANNING
	if len(old) > 0 {
		if err := u.state(ctx, old[0], running); err != nil {
			return "", err
		}
		return old[0], u.remove(ctx, old[1:])
	}

	var made *grafeaspb.Occurrence
	req := &grafeaspb.CreateOccurrenceRequest{Parent: "projects/" + u.c.Project, Occurrence: running}
	role := occurrencesEditor + " there or " + notesAttacher + " on " + u.in.Target.Note
	op := analysis("create occurrences", u.c.Project, role)
	err := op.once(ctx, u.c.Limit, func(ctx context.Context, opts ...gax.CallOption) (err error) {
		made, err = u.c.Client.CreateOccurrence(ctx, req, opts...)
		return err
	})
	if err != nil {
		return "", err
	}
	return made.GetName(), kept(made, running)
}

// state stores the state of the scan that o has in the discovery of that name.
func (u uploader) state(ctx context.Context, name string, o *grafeaspb.Occurrence) error {
	o = proto.CloneOf(o)
	o.Name = name
	req := &grafeaspb.UpdateOccurrenceRequest{
		Name: name, Occurrence: o, UpdateMask: &fieldmaskpb.FieldMask{Paths: []string{"discovery"}},
	}

	var stored *grafeaspb.Occurrence
	op := analysis("update occurrences", u.c.Project, occurrencesEditor)
	err := op.call(ctx, u.c.Limit, func(ctx context.Context, opts ...gax.CallOption) (err error) {
		stored, err = u.c.Client.UpdateOccurrence(ctx, req, opts...)
		return err
	})
	if err != nil {
		return err
	}
	stored.Name = name
	return kept(stored, o)
}

// kept is an error where the service keeps another state of the scan than it was sent. Masks are documented both to
// replace a message and to merge lists into it (AIP-134, field_mask.proto): merged, the scan would count for package
// types of the earlier report that this one did not look at. Without its time it would be as new as its import.
func kept(stored, sent *grafeaspb.Occurrence) error {
	got, want := stored.GetDiscovery(), sent.GetDiscovery()
	dated := want.GetLastScanTime() == nil || got.GetLastScanTime() != nil &&
		got.GetLastScanTime().AsTime().Sub(want.GetLastScanTime().AsTime()).Abs() < time.Second
	if dated && got.GetAnalysisStatus() == want.GetAnalysisStatus() && slices.Equal(typesOf(got), typesOf(want)) {
		return nil
	}
	return &attestor.Error{
		Kind: attestor.Upstream, Code: attestor.CodeScanUnavailable,
		Msg: fmt.Sprintf("Container Analysis keeps another state of the scan in %s than it was given", stored.GetName()),
		Fix: "delete that occurrence, and import the report again",
	}
}

// typesOf are the package types that a discovery says were analysed, each once.
func typesOf(d *grafeaspb.DiscoveryOccurrence) []string {
	return slices.Compact(slices.Sorted(slices.Values(d.GetAnalysisCompleted().GetAnalysisType())))
}

// create stores the findings, batch by batch. A batch is not retried: one whose
// answer was lost may be stored, and the next import replaces it.
func (u uploader) create(ctx context.Context) error {
	role := occurrencesEditor + " there or " + notesAttacher + " on the notes of " + u.in.Target.Note
	op := analysis("create occurrences", u.c.Project, role)
	done, all := 0, slices.Concat(u.in.Vulnerabilities, u.in.Secrets)
	for batch := range slices.Chunk(all, uploadBatch) {
		req := &grafeaspb.BatchCreateOccurrencesRequest{Parent: "projects/" + u.c.Project, Occurrences: batch}
		stored := 0
		err := op.once(ctx, u.c.Limit, func(ctx context.Context, opts ...gax.CallOption) error {
			answer, err := u.c.Client.BatchCreateOccurrences(ctx, req, opts...)
			stored = len(answer.GetOccurrences())
			return err
		})
		if err != nil {
			return err
		}

		// What a batch leaves behind that is stored in part is not documented: the scan goes on reading as running.
		if stored != len(batch) {
			return &attestor.Error{
				Kind: attestor.Upstream, Code: attestor.CodeScanUnavailable,
				Msg: fmt.Sprintf("Container Analysis stored %d of the %s that it was given at once", stored,
					describe.Plural(len(batch), "finding")),
				Fix: "import the report again",
			}
		}

		done += len(batch)
		if u.c.Progress != nil {
			u.c.Progress(done, len(all))
		}
	}
	return nil
}

// remove deletes occurrences; those that are gone already are deleted.
func (u uploader) remove(ctx context.Context, names []string) error {
	op := analysis("delete occurrences", u.c.Project, occurrencesEditor)
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(uploadParallel)
	for _, name := range names {
		group.Go(func() error {
			req := &grafeaspb.DeleteOccurrenceRequest{Name: name}
			err := op.call(ctx, u.c.Limit, func(ctx context.Context, opts ...gax.CallOption) error {
				return u.c.Client.DeleteOccurrence(ctx, req, opts...)
			})
			if status.Code(err) == codes.NotFound {
				return nil
			}
			return err
		})
	}

	return group.Wait()
}
