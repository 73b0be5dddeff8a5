package attest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"regexp"
	"sync"
	"sync/atomic"
	"time"

	binauthz "cloud.google.com/go/binaryauthorization/apiv1"
	containeranalysis "cloud.google.com/go/containeranalysis/apiv1"
	grafeas "cloud.google.com/go/grafeas/apiv1"
	"golang.org/x/sync/errgroup"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/internal/lru"
	"github.com/attestor-gate/attestor/internal/when"
)

// Config holds what an Attester is made of. Everything is required, unless
// its comment names a default.
type Config struct {
	Grafeas  *grafeas.Client
	Analysis *containeranalysis.Client // to ask for the gate's rights on notes
	BinAuthz *binauthz.BinauthzManagementClient

	Attestors []AttestorConfig // at least one, each name once
	Journal   Journal

	Now     func() time.Time
	Limit   limit.Call    // of one question to Google; 0: [limit.Default]
	Timeout time.Duration // for signing and storing one attestation; 0: 20 s. Keep it below the Gate's Settle
	Logger  *slog.Logger
}

// AttestorConfig is one attestor that the gate can sign for.
type AttestorConfig struct {
	Name               string // projects/P/attestors/A
	Signer             Signer
	AttestationProject string // where its attestations are stored; "": the attestor's project
	PublicKeyID        string // under which the key was added to the attestor; "": the signer's usual id
}

const defaultTimeout = 20 * time.Second

var attestorPattern = regexp.MustCompile(`^projects/([^/]+)/attestors/[^/]+$`)

// An Attester signs and stores attestations. It is safe for concurrent use.
// The package comment describes how its parts work together.
type Attester struct {
	c         Config
	verifier  *Verifier
	attestors map[string]AttestorConfig
	seen      *lru.Cache[seenKey, seen]

	noBatches atomic.Bool // the service creates no several occurrences by one call

	mu    sync.Mutex
	tasks map[targetKey]*task // guarded by mu

	pause func(ctx context.Context, d time.Duration) error
}

// New returns an Attester, or an error that names all that is missing.
func New(c Config) (*Attester, error) {
	var errs []error
	if c.Grafeas == nil || c.Analysis == nil || c.BinAuthz == nil {
		errs = append(errs, errors.New("a client is missing"))
	}
	if c.Now == nil || c.Logger == nil || c.Journal == nil || c.Timeout < 0 {
		errs = append(errs, errors.New("the clock, the logger, the journal or a time limit is missing"))
	}

	if len(c.Attestors) == 0 {
		errs = append(errs, errors.New("no attestor is configured"))
	}
	attestors := map[string]AttestorConfig{}
	for _, a := range c.Attestors {
		m := attestorPattern.FindStringSubmatch(a.Name)
		switch _, twice := attestors[a.Name]; {
		case m == nil:
			errs = append(errs, fmt.Errorf("attestor %q: want projects/PROJECT/attestors/NAME", a.Name))
			continue
		case twice:
			errs = append(errs, fmt.Errorf("attestor %s is configured twice", a.Name))
		case a.Signer == nil:
			errs = append(errs, fmt.Errorf("attestor %s has no signer", a.Name))
			continue
		}

		if a.AttestationProject == "" {
			// Attestations may be kept apart from the attestor, whose project is the
			// default.
			a.AttestationProject = m[1]
		}

		if a.PublicKeyID == "" {
			// Binary Authorization looks a key up by the id that the signature names;
			// an id that the attestor does not have verifies nothing.
			a.PublicKeyID = a.Signer.id()
		}
		attestors[a.Name] = a
	}

	if err := errors.Join(errs...); err != nil {
		return nil, fmt.Errorf("making an attester: %w", err)
	}
	verifier, err := NewVerifier(
		VerifierConfig{Grafeas: c.Grafeas, BinAuthz: c.BinAuthz, Now: c.Now, Limit: c.Limit},
	)
	if err != nil {
		return nil, err
	}

	if c.Timeout == 0 {
		c.Timeout = defaultTimeout
	}
	return &Attester{
		c: c, verifier: verifier, attestors: attestors, seen: lru.New[seenKey, seen](maxSeen),
		tasks: map[targetKey]*task{}, pause: when.Sleep,
	}, nil
}

// Standing lists the attestations of images under the notes of attestors, each
// verified or with why it is not. They need not be ones that this gate signs
// for. On error nothing is known.
func (a *Attester) Standing(
	ctx context.Context,
	attestors []string,
	images []attestor.Image,
) (attestor.Standing, error) {
	s, err := a.verifier.standing(
		ctx,
		attestors,
		images,
		func(name string) string { return a.attestors[name].PublicKeyID },
	)
	if err != nil {
		return attestor.Standing{}, err
	}

	for _, v := range s.Valid {
		// Only what this process verified itself is remembered.
		a.remember(v)
	}
	return s, nil
}

// Warm reads what each attestor's first attestation needs, its keys and that of its signer, before anybody waits for
// it. What fails is read again by whoever needs it, and reported there.
func (a *Attester) Warm(ctx context.Context) {
	var g errgroup.Group
	g.SetLimit(atOnce)
	for _, c := range a.attestors {
		g.Go(func() error {
			_, _ = a.verifier.trust(ctx, c.Name, a.c.Now().Add(-keysFor)) // read as a decision does
			return nil
		})
		g.Go(func() error {
			_, _ = c.Signer.load(ctx, false) // read as a decision does
			return nil
		})
	}
	_ = g.Wait() // no error is returned
}

// configured finds an attestor that a policy names.
func (a *Attester) configured(name string) (AttestorConfig, error) {
	c, ok := a.attestors[name]
	if !ok {
		return AttestorConfig{}, fault(
			attestor.CodeAttestorUnavailable,
			"the policy names attestor "+name+", for which this gate has no signer",
			"add the attestor under attestors in the gate's configuration, or correct the policy's attestors",
			nil,
		)
	}
	return c, nil
}
