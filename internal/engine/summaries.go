package engine

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/config"
	"github.com/attestor-gate/attestor/internal/limit"
	"github.com/attestor-gate/attestor/summary"
)

// joinSummaries makes the publisher of verification summaries, where the configuration has a key for it.
func (e *Engine) joinSummaries() error {
	v := e.Config.VSA
	if v == nil {
		return nil
	}

	passed, err := e.summaryKey(v.Passed)
	if err != nil {
		return fmt.Errorf("vsa.passed: %w", err)
	}

	// Without a second key, refusals have no summaries.
	var refused summary.Key
	if v.Refused != nil {
		if refused, err = e.summaryKey(*v.Refused); err != nil {
			return fmt.Errorf("vsa.refused: %w", err)
		}
	}

	// Former keys sign nothing: they show which older summaries are the gate's own.
	var former []summary.Key
	for i, path := range v.Former {
		key, err := summary.NewFormerKey(path)
		if err != nil {
			return fmt.Errorf("vsa.former[%d]: %w", i, err)
		}
		former = append(former, key)
	}
	e.summaries, err = summary.New(summary.Config{
		Verifier: v.Verifier, Version: e.o.Version, Policies: v.Policies, Passed: passed,
		Refused: refused, Former: former,
		MaxAge:   time.Duration(v.MaxAge),
		Registry: e.referrers, Transport: e.Inspector.Transport(), Remote: RemoteOptions(e.o.Version),
		Name: e.Inspector.NameOptions, Now: time.Now, Logger: e.log,
		Timeout: min(attestTimeout, time.Duration(e.Config.Limits.Settle)/3*2),
	})
	if err != nil {
		return err
	}
	return e.separateKeys()
}

func (e *Engine) summaryKey(k config.SummaryKey) (summary.Key, error) {
	if k.KMS == "" {
		return summary.NewKeyFile(k.KeyFile)
	}
	question := limit.Within(e.Config.Limits.Settle, e.Config.Dependencies.Timeouts.KMS)
	return summary.NewKMSKey(e.Google.KMS, k.KMS, question), nil
}

// separateKeys refuses an attestor's key file that also signs summaries, under whatever path. Keys of Cloud KMS are
// distinguished by their names, which the configuration compares.
func (e *Engine) separateKeys() error {
	var own []string
	for _, a := range e.Config.Attestors {
		own = append(own, a.KeyFile)
	}

	keys := []string{e.Config.VSA.Passed.KeyFile}
	if r := e.Config.VSA.Refused; r != nil {
		keys = append(keys, r.KeyFile)
	}

	// Two paths may lead to one key: the keys are compared.
	for _, path := range slices.DeleteFunc(own, func(p string) bool { return p == "" }) {
		for _, k := range slices.DeleteFunc(slices.Clone(keys), func(p string) bool { return p == "" }) {
			same, err := summary.SameKey(path, k)
			if err != nil {
				return err
			}
			if same {
				return fmt.Errorf("vsa: the key file %s holds the key of an attestor, %s; each needs a key of its own",
					k, path)
			}
		}
	}

	return nil
}

// summarizer is the Gate's stage; nil without a configuration.
func (e *Engine) summarizer() attestor.Summarizer {
	if e.summaries == nil {
		return nil // an interface that holds a nil pointer would not be nil
	}
	return e.summaries
}

// revokeSummaries deletes the summaries of images: in the place that the policy names now, in those that decisions
// name, and in the images' own repository.
func (e *Engine) revokeSummaries(
	ctx context.Context, signed audit.Attested, needs attestor.AttestNeeds,
) ([]attestor.Summary, []attestor.LeftSummary, error) {
	if e.summaries == nil {
		// Without the keys the gate cannot distinguish its own summaries from others'.
		var left []attestor.LeftSummary
		for _, s := range signed.Summaries {
			left = append(left, attestor.LeftSummary{
				Digest: s.Digest, Reference: s.Reference,
				Why: "this gate has no vsa in its configuration, and so does not know which summaries are its own",
				Fix: "set vsa and revoke again, or delete it: crane delete " + s.Reference,
			})
		}
		return nil, left, nil
	}

	// The zero place is the image's own repository.
	places := []attestor.SummaryNeeds{{}}
	if needs.Summary != nil {
		places = append(places, *needs.Summary)
	}

	// A reference that cannot be read is reported, and keeps none of the others.
	var errs []error
	for _, s := range signed.Summaries {
		at, err := attestor.ParseImage(s.Reference)
		if err != nil {
			errs = append(errs, fmt.Errorf("the record names the summary %q: %w", s.Reference, err))
			continue
		}
		places = append(places, attestor.SummaryNeeds{Repository: at.Repository()})
	}
	gone, left, err := e.summaries.Revoke(ctx, signed.Images, places)
	return gone, left, errors.Join(append(errs, err)...)
}
