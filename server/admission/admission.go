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
)

// A Mode is the condition on which an image is admitted.
type Mode string

// The modes.
const (
	Attested Mode = "attested" // a valid attestation by every attestor of its policy
	Judged   Mode = "judged"   // the same, or a pass by its policy now, in dry run
)

// Attestations looks up the attestations of an image.
type Attestations interface {
	Standing(ctx context.Context, img attestor.Image) (attestor.Standing, error)
}

// Config holds what a Handler is made of. All but Exempt and Logger is
// required; Judge with mode Judged only.
type Config struct {
	Mode         Mode
	Policies     attestor.Policies
	Attestations Attestations
	Judge        func(ctx context.Context, r attestor.Request) (attestor.Decision, error)
	Logger       *slog.Logger // nil: nothing is logged

	// Exempt are repositories that are admitted without a look-up, such as a
	// cluster's own. Every use is a warning in the answer.
	Exempt []attestor.Pattern

	// Timeout must be below the webhook's timeoutSeconds, so that a refusal says
	// why. 0: 8 s.
	Timeout time.Duration
}

// A Handler answers AdmissionReviews. It is safe for concurrent use.
type Handler struct{ c Config }

var _ http.Handler = (*Handler)(nil)

// New returns a Handler, or what is wrong with c.
func New(c Config) (*Handler, error) {
	switch {
	case c.Mode != Attested && c.Mode != Judged:
		return nil, fmt.Errorf("making an admission handler: mode %q is neither %s nor %s", c.Mode, Attested, Judged)
	case c.Policies == nil, c.Attestations == nil, c.Mode == Judged && c.Judge == nil:
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
	return &Handler{c: c}, nil
}

// The API server's own limit for an object is 3 MiB, and a review holds two.
const maxReview = 7 << 20

// maxImages is several times what a pod has.
const maxImages = 100

// ServeHTTP answers POST of an AdmissionReview. A request that is no review gets a
// 4xx, which the API server treats by its failurePolicy, so that must be Fail.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
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

	// The API server ends a slow webhook by its failurePolicy and names no reason;
	// this answer comes first.
	ctx, cancel := context.WithTimeout(r.Context(), h.c.Timeout)
	defer cancel()

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
		return nil, http.StatusUnsupportedMediaType, errors.New("want application/json, not compressed")
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
	problems, warnings := h.problems(ctx, r)
	out.Warnings = warnings
	out.Allowed = len(problems) == 0
	if !out.Allowed {
		slices.Sort(problems)
		out.Status = &status{Code: http.StatusForbidden, Reason: "Forbidden", Message: strings.Join(problems, "; ")}
	}

	h.c.Logger.InfoContext(
		ctx,
		"admission",
		slog.Bool("allowed", out.Allowed),
		slog.String("kind", r.Kind.Kind),
		slog.String("operation", r.Operation),
		slog.Int("problems", len(problems)),
	)
	return out
}

// problems lists why a request is not admitted; none admits it.
func (h *Handler) problems(ctx context.Context, r *request) (problems, warnings []string) {
	switch r.Operation {
	case "DELETE":
		return nil, nil // a deletion runs nothing
	case "CREATE", "UPDATE":
	default:
		return []string{
			fmt.Sprintf(
				"the operation %q is not supported: restrict the webhook's rules to CREATE and UPDATE",
				r.Operation,
			),
		}, nil
	}

	// Without an object nothing is known of what would run.
	if len(bytes.TrimSpace(r.Object)) == 0 || bytes.Equal(bytes.TrimSpace(r.Object), []byte("null")) {
		return []string{"the review has no object"}, nil
	}
	spec, err := podSpecOf(r.Kind, r.Object)
	if err != nil {
		return []string{
			fmt.Sprintf(
				"%s %s: %s: restrict the webhook's rules to pods and workloads",
				r.Kind.Group,
				r.Kind.Kind,
				err,
			),
		}, nil
	}

	// A pod without an image is none that this version can read: Kubernetes requires
	// one.
	images := spec.images()
	if len(images) == 0 || len(images) > maxImages {
		return []string{fmt.Sprintf("the pod has %d images; 1 to %d are supported", len(images), maxImages)}, nil
	}

	// Every image is looked at, also after a refusal, so that one answer names all.
	var mu sync.Mutex
	var wg sync.WaitGroup
	for _, image := range images {
		wg.Go(func() {
			warning, err := h.contained(ctx, image)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				problems = append(problems, err.Error())
			}

			if warning != "" {
				warnings = append(warnings, warning)
			}
		})
	}

	wg.Wait()
	slices.Sort(warnings)
	return problems, warnings
}

// contained turns a panic about one image into its refusal.
func (h *Handler) contained(ctx context.Context, image string) (warning string, err error) {
	defer func() {
		if p := recover(); p != nil {
			h.c.Logger.ErrorContext(ctx, "panic while admitting", slog.Any("error", p))
			warning, err = "", errors.New("internal error of the gate")
		}
	}()
	return h.image(ctx, image)
}

// image decides on one image. A nil error admits it.
func (h *Handler) image(ctx context.Context, text string) (warning string, err error) {
	ref, err := attestor.ParseReference(text)
	if err != nil {
		return "", errors.New(attestor.Message(err))
	}
	repository := ref.Repository()
	if slices.ContainsFunc(h.c.Exempt, func(p attestor.Pattern) bool { return p.Match(repository) }) {
		return "attestor: " + repository + " is exempt and was admitted without a check", nil
	}

	// A tag may be moved between this answer and the pull, so that an attested image
	// could be replaced by another.
	img, pinned := ref.Pinned()
	if !pinned {
		return "", fmt.Errorf("%s is by tag, which may move: deploy it by digest", ref)
	}

	// No policy is a refusal: nobody has said what such an image must be.
	policy, governed := h.c.Policies.Govern(repository)
	if !governed {
		return "", fmt.Errorf("no policy governs %s", repository)
	}

	err = h.admissible(ctx, ref, img, policy)

	// A policy in dry run refuses nothing, here as everywhere else.
	if err != nil && policy.Ref().Mode == attestor.DryRun {
		return "attestor: would be refused, but the policy is in dry run: " + err.Error(), nil
	}
	return "", err
}

// admissible returns why a policy's image is not admitted. A failed look-up is no
// attestation; in mode Judged, the policy decides instead.
func (h *Handler) admissible(
	ctx context.Context,
	ref attestor.Reference,
	img attestor.Image,
	policy attestor.Policy,
) error {
	missing, err := h.missing(ctx, img, policy.Needs().Attest)
	switch {
	case err == nil && missing == "":
		return nil
	case h.c.Mode == Judged:
		return h.judge(ctx, ref)
	case err != nil:
		return err
	}
	return fmt.Errorf("%s has no valid attestation by %s: run attestor attest %s", img, missing, img)
}

// missing names the attestors that have not attested to an image; "" admits it.
// An image that was admitted by break-glass carries the attestations of other
// attestors, where its policy names such.
func (h *Handler) missing(ctx context.Context, img attestor.Image, needs attestor.AttestNeeds) (string, error) {
	standing, err := h.c.Attestations.Standing(ctx, img)
	if err != nil || !standing.Known {
		return "", fmt.Errorf("the attestations of %s could not be looked up", img)
	}
	if len(needs.Attestors) == 0 {
		return "any attestor, since its policy names none", nil
	}

	images := []attestor.Image{img}

	// All attestors of a pass, or all of an override: some of each are neither.
	missing, err := standing.Missing(needs.For(false), images)
	if err != nil {
		return "", fmt.Errorf("the attestations of %s: %w", img, err)
	}

	overridden, err := standing.Missing(needs.For(true), images)
	if err != nil {
		return "", fmt.Errorf("the attestations of %s: %w", img, err)
	}
	if len(missing) == 0 || len(overridden) == 0 {
		return "", nil
	}
	return strings.Join(missing, ", "), nil
}

// judge asks the Gate, in dry run: a cluster's question must not make it sign
// anything.
func (h *Handler) judge(ctx context.Context, ref attestor.Reference) error {
	pattern, err := attestor.ParsePattern(ref.Repository())
	if err != nil {
		return errors.New(attestor.Message(err))
	}

	// The caller may do no more than this one question takes.
	d, err := h.c.Judge(ctx, attestor.Request{Image: ref, DryRun: true, Caller: attestor.Caller{
		Subject: "admission", Issuer: "kubernetes",
		Grants: []attestor.Grant{
			{Actions: []attestor.Action{attestor.ActionCheck}, Images: []attestor.Pattern{pattern}},
		},
	}})
	if err != nil {
		return fmt.Errorf("%s: %s", ref, attestor.Message(err))
	}

	if d.Verdict == attestor.Pass {
		return nil
	}
	var why []string
	for _, r := range d.Refusals() {
		if len(why) < 5 {
			why = append(why, string(r.Code)+" "+r.Message)
		}
	}
	return fmt.Errorf("%s was refused by decision %s: %s", ref, d.ID, strings.Join(why, ", "))
}
