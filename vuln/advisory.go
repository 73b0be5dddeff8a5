package vuln

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/googleapis/gax-go/v2"
	"golang.org/x/sync/errgroup"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/resource"
)

const (
	maxAdvisories     = 50_000         // notes remembered
	advisoryAge       = 24 * time.Hour // how long a known date is believed
	advisoryAbsentAge = time.Hour      // and how long its absence
	advisoryParallel  = 16             // calls at the same time, per scan
)

// advisories remembers when advisories were published: one call per note would
// else be made for every image.
type advisories struct {
	c     Config
	mu    sync.Mutex
	known map[string]advisory // by note; guarded by mu
}

type advisory struct {
	published *time.Time // nil: the note does not say
	until     time.Time
}

func newAdvisories(c Config) *advisories { return &advisories{c: c, known: map[string]advisory{}} }

// date fills in Published. A note without a date, or that does not exist,
// leaves it nil, which means no grace; a note that could not be asked for is an
// error, since "could not find out" is no answer. Notes that are neither
// Google's nor beside a trusted one are not the gate's to read, so that being
// refused them is no error: they mean no grace.
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
	dates := make([]*time.Time, len(missing))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(advisoryParallel)
	for i, note := range missing {
		group.Go(func() error {
			var err error
			dates[i], err = a.fetch(groupCtx, note, trusted)
			return err
		})
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
	a.mu.Lock()
	defer a.mu.Unlock()
	k, ok := a.known[note]
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
	err := analysis("read note "+clip(note), name.Project, notesViewer).call(ctx, a.c.CallTimeout, func(ctx context.Context, opts ...gax.CallOption) error {
		n, err := a.c.Client.GetNote(ctx, &grafeaspb.GetNoteRequest{Name: note}, opts...)
		if status.Code(err) == codes.NotFound {
			return nil
		}
		published = timeOf(n.GetVulnerability().GetAdvisoryPublishTime())
		return err
	})
	if status.Code(err) == codes.PermissionDenied && !expected(name.Project, trusted) {
		a.c.Logger.WarnContext(ctx, "advisory not readable", slog.String("note", note))
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
	a.mu.Lock()
	defer a.mu.Unlock()
	now := a.c.Now()
	age := advisoryAge
	if published == nil {
		age = advisoryAbsentAge
	}
	if len(a.known) >= maxAdvisories {
		a.forget(now)
	}
	a.known[note] = advisory{published: published, until: now.Add(age)}
}

// forget makes room: what is out of date, else an arbitrary half.
func (a *advisories) forget(now time.Time) {
	var live []string
	for note, k := range a.known {
		if now.Before(k.until) {
			live = append(live, note)
		} else {
			delete(a.known, note)
		}
	}
	for _, note := range slices.Clip(live) {
		if len(a.known) <= maxAdvisories/2 {
			return
		}
		delete(a.known, note)
	}
}
