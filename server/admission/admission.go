// Package admission answers Kubernetes' AdmissionReview v1: it decides which
// images a pod would run and whether each may. Whether an image carries a valid
// attestation, and what a policy says of it, is left to others. The API server
// sends no token, so that who may call is decided by the listener: mutual TLS,
// or explicitly anyone.
package admission

import (
	"bytes"
	"context"
	stdjson "encoding/json"
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

	"github.com/go-json-experiment/json"

	"github.com/attestor-gate/attestor"
)

// A Mode says what an image needs.
type Mode string

// The modes.
const (
	Attested Mode = "attested" // a valid attestation by every attestor of its policy
	Judged   Mode = "judged"   // the same, or else to pass its policy now, in dry run
)

// Attestations looks up what stands for an image.
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
	Exempt       []attestor.Pattern // repositories that are admitted unseen, such as a cluster's own; every use is said in the answer
	Timeout      time.Duration      // stay below the webhook's timeoutSeconds, so that the refusal says why; 8 s
	Logger       *slog.Logger       // nil: nothing is logged
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
		return nil, errors.New("making an admission handler: policies, attestations or gate are missing")
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

// ServeHTTP answers POST of an AdmissionReview. What is none is a 4xx, which
// the API server treats by its failurePolicy; so must that be Fail.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, status, err := read(w, r)
	if err != nil {
		http.Error(w, err.Error(), status)
		return
	}
	var in review
	if err := json.Unmarshal(body, &in); err != nil {
		http.Error(w, "the body is not an AdmissionReview", http.StatusBadRequest)
		return
	}
	if in.APIVersion != "admission.k8s.io/v1" || in.Kind != "AdmissionReview" || in.Request == nil || in.Request.UID == "" {
		http.Error(w, "the body is not an AdmissionReview of admission.k8s.io/v1 with a request", http.StatusBadRequest)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), h.c.Timeout)
	defer cancel()
	answer := h.review(ctx, in.Request)
	out := review{APIVersion: in.APIVersion, Kind: in.Kind, Response: answer}
	b, err := stdjson.Marshal(out)
	if err != nil {
		http.Error(w, "internal error", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(b) // the API server is gone, or not
}

func read(w http.ResponseWriter, r *http.Request) (body []byte, status int, err error) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return nil, http.StatusMethodNotAllowed, errors.New("want POST")
	}
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" || r.Header.Get("Content-Encoding") != "" {
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

// review decides. Whatever is not admitted is refused with every reason.
func (h *Handler) review(ctx context.Context, r *request) *response {
	out := &response{UID: r.UID}
	problems, warnings := h.problems(ctx, r)
	out.Warnings = warnings
	out.Allowed = len(problems) == 0
	if !out.Allowed {
		slices.Sort(problems)
		out.Status = &status{Code: http.StatusForbidden, Reason: "Forbidden", Message: strings.Join(problems, "; ")}
	}
	h.c.Logger.InfoContext(ctx, "admission", slog.Bool("allowed", out.Allowed), slog.String("kind", r.Kind.Kind), slog.String("operation", r.Operation), slog.Int("problems", len(problems)))
	return out
}

func (h *Handler) problems(ctx context.Context, r *request) (problems, warnings []string) {
	switch r.Operation {
	case "DELETE":
		return nil, nil // what goes runs nothing
	case "CREATE", "UPDATE":
	default:
		return []string{fmt.Sprintf("the operation is %q: let the webhook's rules name CREATE and UPDATE only", r.Operation)}, nil
	}
	if len(bytes.TrimSpace(r.Object)) == 0 || bytes.Equal(bytes.TrimSpace(r.Object), []byte("null")) {
		return []string{"the review has no object"}, nil
	}
	spec, err := podSpecOf(r.Kind, r.Object)
	if err != nil {
		return []string{fmt.Sprintf("%s %s: %s: let the webhook's rules name pods and workloads only", r.Kind.Group, r.Kind.Kind, err)}, nil
	}
	images := spec.images()
	if len(images) == 0 || len(images) > maxImages {
		return []string{fmt.Sprintf("the pod has %d images: want 1 to %d", len(images), maxImages)}, nil
	}
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

// contained keeps a panic about one image from taking the process with it.
func (h *Handler) contained(ctx context.Context, image string) (warning string, err error) {
	defer func() {
		if p := recover(); p != nil {
			h.c.Logger.ErrorContext(ctx, "panic while admitting", slog.Any("error", p))
			warning, err = "", errors.New("internal error of the gate")
		}
	}()
	return h.image(ctx, image)
}

// image decides about one image. Nil admits it.
func (h *Handler) image(ctx context.Context, text string) (warning string, err error) {
	ref, err := attestor.ParseReference(text)
	if err != nil {
		return "", errors.New(attestor.Message(err))
	}
	repository := ref.Repository()
	if slices.ContainsFunc(h.c.Exempt, func(p attestor.Pattern) bool { return p.Match(repository) }) {
		return "attestor: " + repository + " is exempt and was admitted unseen", nil
	}
	img, pinned := ref.Pinned()
	if !pinned {
		return "", fmt.Errorf("%s is by tag, which may move: deploy it by digest", ref)
	}
	policy, governed := h.c.Policies.Govern(repository)
	if !governed {
		return "", fmt.Errorf("no policy governs %s", repository)
	}
	err = h.admissible(ctx, ref, img, policy)
	if err != nil && policy.Ref().Mode == attestor.DryRun { // it refuses nothing anywhere
		return "attestor: would be refused, but the policy is in dry run: " + err.Error(), nil
	}
	return "", err
}

func (h *Handler) admissible(ctx context.Context, ref attestor.Reference, img attestor.Image, policy attestor.Policy) error {
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

// judge asks the Gate, in dry run: nothing is signed for a cluster's asking.
func (h *Handler) judge(ctx context.Context, ref attestor.Reference) error {
	pattern, err := attestor.ParsePattern(ref.Repository())
	if err != nil {
		return errors.New(attestor.Message(err))
	}
	d, err := h.c.Judge(ctx, attestor.Request{Image: ref, DryRun: true, Caller: attestor.Caller{
		Subject: "admission", Issuer: "kubernetes",
		Grants: []attestor.Grant{{Actions: []attestor.Action{attestor.ActionCheck}, Images: []attestor.Pattern{pattern}}},
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
