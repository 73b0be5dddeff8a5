package vuln

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/googleapis/gax-go/v2"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/lru"
	"github.com/attestor-gate/attestor/internal/resource"
	"github.com/attestor-gate/attestor/internal/together"
)

const (
	maxAdvisories     = 50_000         // notes remembered
	advisoryAge       = 24 * time.Hour // how long a known date is used
	advisoryAbsentAge = time.Hour      // and how long its absence
	advisoryParallel  = 16             // calls at the same time, per scan
)

// advisories remembers when advisories were published, which saves a call per note and
// image.
type advisories struct {
	c     Config
	known *lru.Cache[string, advisory] // by note
}

type advisory struct {
	published *time.Time // nil: the note does not say
	until     time.Time
}

func newAdvisories(c Config) *advisories {
	return &advisories{c: c, known: lru.New[string, advisory](maxAdvisories)}
}

// date fills in Published. A note without a date, or that does not exist, leaves it
// nil, which means no grace period; a note that could not be read is an error, since a
// failed look-up is no answer. The gate need not be able to read notes that are
// neither Google's nor in the project of a trusted note: they mean no grace period
// either.
func (a *advisories) date(ctx context.Context, findings []attestor.Vulnerability, trusted []string) error {
	wanted := map[string]*time.Time{}
	var missing []string
	for _, f := range findings {
		if _, seen := wanted[f.Note]; seen {
			continue
		}
		published, ok := a.lookup(f.Note)
		wanted[f.Note] = published
		if !ok {
			missing = append(missing, f.Note)
		}
	}

	// One failure ends all: a finding without its date would get no grace, and one
	// with a wrong date too much.
	dates := make([]*time.Time, len(missing))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(advisoryParallel)
	for i, note := range missing {
		group.Go(together.Caught(func() error {
			var err error
			dates[i], err = a.fetch(groupCtx, note, trusted)
			return err
		}))
	}

	if err := group.Wait(); err != nil {
		return err
	}
	for i, note := range missing {
		wanted[note] = dates[i]
	}

	for i := range findings {
		findings[i].Published = wanted[findings[i].Note]
	}
	return nil
}

func (a *advisories) lookup(note string) (*time.Time, bool) {
	k, ok := a.known.Get(note)
	if !ok || !a.c.Now().Before(k.until) {
		return nil, false
	}
	return k.published, true
}

func (a *advisories) fetch(ctx context.Context, note string, trusted []string) (*time.Time, error) {
	name, ok := resource.ParseName("notes", note)
	if !ok {
		return nil, nil
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}

	var published *time.Time
	op := analysis("read note "+clip(note), name.Project, notesViewer)
	err := op.call(ctx, a.c.Limit, func(ctx context.Context, opts ...gax.CallOption) error {
		n, err := a.c.Client.GetNote(ctx, &grafeaspb.GetNoteRequest{Name: note}, opts...)

		// A note that is gone has no date: no grace, and no error.
		if status.Code(err) == codes.NotFound {
			return nil
		}
		published = timeOf(n.GetVulnerability().GetAdvisoryPublishTime())
		return err
	})

	// Whoever stores findings may name a note that the gate cannot read. It means no
	// grace; as an error it would let a stranger block the image's every scan.
	if status.Code(err) == codes.PermissionDenied && !expected(name.Project, trusted) {
		a.c.Logger.WarnContext(
			ctx,
			"could not read an advisory's note: the gate lacks the permission; no grace period applies",
			slog.String("note", note),
		)
		err = nil
	}

	if err != nil {
		return nil, err
	}
	a.remember(note, published)
	return published, nil
}

// expected reports whether project is one whose notes the gate should be able
// to read.
func expected(project string, trusted []string) bool {
	return project == googleVulnerabilities || slices.ContainsFunc(trusted, func(note string) bool {
		name, ok := resource.ParseName("notes", note)
		return ok && name.Project == project
	})
}

func (a *advisories) remember(note string, published *time.Time) {
	// A note may get its date later, so that its absence is remembered for less time.
	age := advisoryAge
	if published == nil {
		age = advisoryAbsentAge
	}
	a.known.Put(note, advisory{published: published, until: a.c.Now().Add(age)}, 1)
}
