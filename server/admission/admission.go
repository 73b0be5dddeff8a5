// Package admission answers Kubernetes' AdmissionReview v1: it finds the images that a
// pod would run and decides whether each may. Whether an image has a valid
// attestation, and what a policy says of it, is left to others. The API server sends
// no token, so that the listener decides who may call: mutual TLS, or explicitly
// anyone.
package admission

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/plain"
)

// A Mode is the condition on which an image is admitted.
type Mode string

// The modes. The last two refuse nothing: what the first two would refuse is a warning in the answer.
const (
	Attested   Mode = "attested" // a valid attestation by every attestor of its policy
	Judged     Mode = "judged"   // the same, or a pass by its policy now, in dry run
	Warn       Mode = "warn"     // warns of what Attested refuses
	WarnJudged Mode = "warnJudged"
)

// Modes lists every mode.
func Modes() []Mode { return []Mode{Attested, Judged, Warn, WarnJudged} }

// judges reports whether an image without attestations may pass by its policy.
func (m Mode) judges() bool { return m == Judged || m == WarnJudged }

// warns reports whether the mode refuses nothing.
func (m Mode) warns() bool { return m == Warn || m == WarnJudged }

// Attestations looks up the attestations of an image.
type Attestations interface {
	Standing(ctx context.Context, img attestor.Image) (attestor.Standing, error)
}

// Config holds what a Handler is made of. Mode, Policies and Attestations are
// required, and Judge with the modes that judge.
type Config struct {
	Mode         Mode
	Policies     attestor.Policies
	Attestations Attestations
	Judge        func(ctx context.Context, r attestor.Request) (attestor.Decision, error)
	Logger       *slog.Logger // nil: nothing is logged

	// Overrides lists the open overrides of an image, the newest first. nil: none are recorded, and an image that was
	// overridden is known by the attestors of its attestations alone.
	Overrides func(ctx context.Context, img attestor.Image) ([]attestor.Override, error)

	// Record keeps what was decided about one image; it gives the decision its id and time. nil: nothing is recorded
	// beyond what Judge records. A decision that cannot be recorded admits nothing.
	Record func(ctx context.Context, r attestor.Record) error

	Now func() time.Time // nil: [time.Now]

	// Exempt are repositories that are admitted without a look-up, such as a
	// cluster's own. Every use is a warning in the answer.
	Exempt []attestor.Pattern

	// Timeout must be below the webhook's timeoutSeconds, so that a refusal says
	// why. 0: 8 s.
	Timeout time.Duration
}

// A Handler answers AdmissionReviews. It is safe for concurrent use.
type Handler struct {
	c Config

	// Each has an element for each of what is done now.
	small, large chan struct{} // reviews that are read and decided
	images       chan struct{} // images that are looked up
}

var _ http.Handler = (*Handler)(nil)

// New returns a Handler, or what is wrong with c.
func New(c Config) (*Handler, error) {
	switch {
	case !slices.Contains(Modes(), c.Mode):
		return nil, fmt.Errorf("making an admission handler: mode %q is not one of %v", c.Mode, Modes())
	case c.Policies == nil, c.Attestations == nil, c.Mode.judges() && c.Judge == nil:
		return nil, errors.New("making an admission handler: the policies, the attestations or the gate is missing")
	case c.Timeout < 0:
		return nil, errors.New("making an admission handler: the time-out is negative")
	}

	if c.Timeout == 0 {
		c.Timeout = 8 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	return &Handler{
		c: c, small: make(chan struct{}, smallReviews), large: make(chan struct{}, largeReviews),
		images: make(chan struct{}, imagesAtOnce),
	}, nil
}

// The API server's own limit for an object is 3 MiB, and a review holds two.
const maxReview = 7 << 20

// maxImages is several times what a pod has.
const maxImages = 100

// What is done at the same time, whoever asks: a cluster that rolls out everything at once, or whoever can reach an open
// listener, must not take the memory that decisions need. A decoded review has several times its size.
const (
	smallReview  = 256 << 10 // bytes of a review that is not counted among the large ones
	smallReviews = 128
	largeReviews = 4
	imagesAtOnce = 64
)

// enter waits for a place for a review of so many bytes; -1: they are not known. The function that it returns gives the
// place back.
func (h *Handler) enter(ctx context.Context, size int64) (leave func(), err error) {
	places := h.small
	if size < 0 || size > smallReview {
		places = h.large
	}
	select {
	case places <- struct{}{}:
		return func() { <-places }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// ServeHTTP answers POST of an AdmissionReview. A request that is no review gets a
// 4xx, which the API server treats by its failurePolicy, so that must be Fail.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	// The API server ends a slow webhook by its failurePolicy and names no reason;
	// this answer comes first.
	ctx, cancel := context.WithTimeout(r.Context(), h.c.Timeout)
	defer cancel()

	// Before anything is read. Without an answer nothing is admitted.
	leave, err := h.enter(ctx, r.ContentLength)
	if err != nil {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "the gate is busy with other reviews", http.StatusServiceUnavailable)
		return
	}
	defer leave()

	body, status, err := read(w, r)
	if err != nil {
		http.Error(w, err.Error(), status)
		return
	}

	var in review
	if err := readReview(body, &in); err != nil {
		http.Error(w, "the body is not an AdmissionReview", http.StatusBadRequest)
		return
	}

	// Kubernetes, "Dynamic Admission Control": webhooks answer with the version that
	// they were sent. Another version may mean another shape.
	if in.APIVersion != "admission.k8s.io/v1" || in.Kind != "AdmissionReview" || in.Request == nil ||
		in.Request.UID == "" {
		http.Error(w, "the body is not an AdmissionReview of admission.k8s.io/v1 with a request", http.StatusBadRequest)
		return
	}

	answer := h.review(ctx, in.Request)
	out := review{APIVersion: in.APIVersion, Kind: in.Kind, Response: answer}
	b, err := json.Marshal(out)
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}

	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(b) // an API server that is gone gets no answer
}

// read returns the body of a review, or the status that refuses it.
func read(w http.ResponseWriter, r *http.Request) (body []byte, status int, err error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, http.StatusMethodNotAllowed, errors.New("want POST")
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" ||
		r.Header.Get("Content-Encoding") != "" {
		return nil, http.StatusUnsupportedMediaType,
			errors.New("the request must have Content-Type application/json and no compression")
	}

	body, err = io.ReadAll(http.MaxBytesReader(w, r.Body, maxReview))
	if _, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return nil, http.StatusRequestEntityTooLarge, errors.New("the body is too large")
	}
	if err != nil {
		return nil, http.StatusBadRequest, errors.New("the body could not be read")
	}
	return body, 0, nil
}

// review decides on a request. A refusal lists every reason.
func (h *Handler) review(ctx context.Context, r *request) *response {
	out := &response{UID: r.UID}
	found := h.findings(ctx, r)

	var problems []string
	for _, f := range found {
		out.Warnings = append(out.Warnings, f.warnings...)
		if f.problem == "" {
			continue
		}

		// What is only warned of is reported as a refusal, so that nobody takes the warning for an approval.
		if h.c.Mode.warns() || f.dryRun {
			out.Warnings = append(out.Warnings, "would be refused: "+f.problem)
		} else {
			problems = append(problems, f.problem)
		}
	}

	out.Warnings = bounded(out.Warnings)
	out.Allowed = len(problems) == 0
	if !out.Allowed {
		slices.Sort(problems)
		out.Status = &status{Code: http.StatusForbidden, Reason: "Forbidden", Message: strings.Join(problems, "; ")}
	}
	out.AuditAnnotations = annotations(out.Allowed, found)
	h.log(ctx, r, out.Allowed, len(problems), found)
	return out
}

// log writes one line for the review, and one for each image. Names and texts are left out, as in every log line.
func (h *Handler) log(ctx context.Context, r *request, allowed bool, problems int, found []finding) {
	h.c.Logger.InfoContext(
		ctx,
		"admission",
		slog.Bool("allowed", allowed),
		slog.String("kind", r.Kind.Kind),
		slog.String("operation", r.Operation),
		slog.Int("problems", problems),
		slog.Bool("dry_run", h.c.Mode.warns()),
	)

	for _, f := range found {
		h.c.Logger.InfoContext(
			ctx,
			"admission of an image",
			slog.String("verdict", f.verdict()),
			slog.String("image_digest", string(f.digest)),
			slog.Any("reason_codes", f.codes),
			slog.String("decision_id", f.decision),
			slog.Bool("break_glass", f.override != ""),
			slog.Bool("dry_run", h.c.Mode.warns() || f.dryRun),
		)
	}
}

// Kubernetes, "Dynamic Admission Control": "warnings over 256 characters may be truncated by the API server", and
// further ones once "more than 4096 characters of warning messages are added".
const (
	maxWarning  = 256
	maxWarnings = 16
)

// bounded sorts the warnings, each once, and cuts what the API server would cut.
func bounded(warnings []string) []string {
	for i, w := range warnings {
		warnings[i] = plain.Clip("attestor: "+w, maxWarning)
	}
	slices.Sort(warnings)
	warnings = slices.Compact(warnings)
	if more := len(warnings) - maxWarnings; more > 0 {
		warnings = append(warnings[:maxWarnings-1], fmt.Sprintf("attestor: and %d more warnings", more+1))
	}
	return warnings
}

// annotations are what the cluster's audit log keeps of the review, under the webhook's name.
func annotations(allowed bool, found []finding) map[string]string {
	if len(found) == 0 {
		return nil
	}

	var digests, codes, decisions []string
	verdict := "admitted"
	for _, f := range found {
		if f.problem != "" {
			verdict = "would be refused"
		}
		add := func(list *[]string, s string) {
			if s != "" && !slices.Contains(*list, s) {
				*list = append(*list, s)
			}
		}
		add(&digests, string(f.digest))
		add(&decisions, f.override)
		for _, c := range f.codes {
			add(&codes, string(c))
		}
	}
	if !allowed {
		verdict = "refused"
	}

	out := map[string]string{"verdict": verdict}
	for key, list := range map[string][]string{"images": digests, "reasons": codes, "overrides": decisions} {
		if len(list) > 0 {
			slices.Sort(list)
			out[key] = strings.Join(list, ",")
		}
	}
	return out
}

// findings decides about every image of a request; none admits it.
func (h *Handler) findings(ctx context.Context, r *request) []finding {
	unread := func(format string, args ...any) []finding {
		return []finding{refused(fmt.Sprintf(format, args...), attestor.CodeEvidenceMissing)}
	}
	switch r.Operation {
	case "DELETE":
		return nil // a deletion runs nothing
	case "CREATE", "UPDATE":
	default:
		return unread(
			"the operation %q is not supported: restrict the webhook's rules to CREATE and UPDATE",
			r.Operation,
		)
	}

	// Without an object nothing is known of what would run.
	if len(bytes.TrimSpace(r.Object)) == 0 || bytes.Equal(bytes.TrimSpace(r.Object), []byte("null")) {
		return unread("the review has no object")
	}
	spec, err := podSpecOf(r.Kind, r.Object)
	if err != nil {
		return unread("%s %s: %s: restrict the webhook's rules to pods and workloads", r.Kind.Group, r.Kind.Kind, err)
	}

	// A pod without an image is none that this version can read: Kubernetes requires
	// one.
	images := spec.images()
	if len(images) == 0 || len(images) > maxImages {
		return unread("the pod has %d images; 1 to %d are supported", len(images), maxImages)
	}

	// Every image is looked at, also after a refusal, so that one answer names all.
	found := make([]finding, len(images))
	var wg sync.WaitGroup
	for i, image := range images {
		wg.Go(func() {
			select {
			case h.images <- struct{}{}:
				defer func() { <-h.images }()
				found[i] = h.contained(ctx, r, image)
			case <-ctx.Done():
				found[i] = refused(
					"the gate is busy, and did not get to "+plain.Clip(image, maxWarning), attestor.CodeEvidenceMissing)
				found[i].undecided = true
			}
		})
	}
	wg.Wait()
	return found
}
