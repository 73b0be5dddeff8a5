package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/engine"
	"github.com/attestor-gate/attestor/internal/google"
	"github.com/attestor-gate/attestor/internal/plain"
	"github.com/attestor-gate/attestor/internal/vsa"
	"github.com/attestor-gate/attestor/verify/signed"
)

// maxStatementText is how much of a statement's text is printed, in characters.
const maxStatementText = 300

func (v *vsaFlags) register(c *cobra.Command) {
	c.Flags().BoolVar(&v.on, "vsa", false, "verify verification summaries (SLSA VSA) attached to the image, of "+
		"any producer")

	// Who must have signed: exactly one key or identity.
	c.Flags().StringVar(&v.rule.Key, "key", "", "with --vsa: the signer's public key, a PEM `FILE` or "+
		"gcpkms://…/cryptoKeyVersions/N")
	c.Flags().StringVar(&v.rule.Issuer, "issuer", "", "with --vsa: the issuer of a keyless signer's "+
		"certificate, exactly")
	c.Flags().StringVar(&v.rule.Subject, "subject", "", "with --vsa: the subject of the certificate, exactly")
	c.Flags().StringVar(&v.rule.SubjectRegexp, "subject-regexp", "", "with --vsa: the same as a regular expression, "+
		"which must match all of it")
	c.Flags().StringVar(&v.rule.TrustedRoot, "trusted-root", "", "with --vsa: the trusted_root.json `FILE` of a "+
		"keyless signer")

	// What the summary must say.
	c.Flags().StringVar(&v.verifier, "verifier", "", "with --vsa: the verifier.id, exactly")
	c.Flags().StringSliceVar(&v.policies, "policy-uri", nil,
		"with --vsa: the policy.uri, exactly (repeatable; default: any)")
	c.Flags().StringVar(&v.resource, "resource-uri", "", "with --vsa: the resourceUri, exactly (default: the image's "+
		"repository in any form)")
	c.Flags().StringSliceVar(&v.levels, "level", nil, "with --vsa: a verified level, of SLSA_BUILD_LEVEL_N as a "+
		"minimum (repeatable)")
	c.Flags().Var(&v.maxAge, "max-age", "with --vsa: the oldest timeVerified, such as 2d (default: any)")
	c.Flags().StringVar(&v.repository, "vsa-repository", "", "with --vsa: the repository that has the summaries "+
		"(default: the image's own)")
}

// problem says what is missing or contradicts itself.
func (v *vsaFlags) problem() error {
	keyless := v.rule.Issuer != "" || v.rule.Subject != "" || v.rule.SubjectRegexp != ""
	switch {
	case v.rule.Key == "" && !keyless:
		return errors.New("--vsa needs --key, or --issuer with --subject or --subject-regexp: anybody can " +
			"attach a summary")
	case v.rule.Key != "" && keyless:
		return errors.New("--key and --issuer, --subject exclude each other")
	case v.verifier == "":
		return errors.New("--vsa needs --verifier: a summary counts by the verifier that it names")
	case time.Duration(v.maxAge) < 0:
		return errors.New("--max-age is negative")
	}

	return nil
}

// A judgedSummary is one summary with what it is worth.
type judgedSummary struct {
	Signer    string        `json:"signer"`
	Predicate vsa.Predicate `json:"predicate"`
	Unmet     string        `json:"unmet,omitempty"` // why it does not count; "": it does

	envelope json.RawMessage
}

// runVSA answers whether a verification summary covers the image.
func (f *verifyFlags) runVSA(c *cobra.Command, image string) error {
	if err := f.vsa.problem(); err != nil {
		return err
	}
	if f.format == "dsse" && !f.vsa.on {
		return errors.New("-o dsse goes with --vsa")
	}

	log := newLogger(c, slog.LevelError)
	ref, img, em, err := f.find(c.Context(), image, log)
	if err != nil {
		return err
	}

	// What could not be read may be a refusal: an error, and not "no summary".
	all, err := f.vsa.read(c.Context(), img, f.plainHTTP, em, log)
	if err != nil {
		return &exit{code: attestor.ExitError, err: err}
	}
	return f.answerVSA(c.OutOrStdout(), ref, img, f.vsa.judge(img, all, time.Now()))
}

// read returns every summary by the signer.
func (v *vsaFlags) read(
	ctx context.Context, img attestor.Image, plainHTTP bool, em google.Emulators, log *slog.Logger,
) ([]signed.Statement, error) {
	// Summaries may be kept in a repository beside the image's, under the image's digest.
	at := img
	if v.repository != "" {
		place, err := attestor.ParseReference(v.repository)
		if err != nil {
			return nil, err
		}
		at = place.At(img.Digest())
	}
	host, _, _ := strings.Cut(at.Repository(), "/")
	i, err := newInspector(host, plainHTTP, log)
	if err != nil {
		return nil, err
	}
	defer i.CloseIdleConnections()

	conf := signed.Config{
		Transport: i.Transport(), Remote: engine.RemoteOptions(version), Name: i.NameOptions,
		Now: time.Now, Logger: log,
	}

	// A key in Cloud KMS is read with the credentials of the caller; a PEM file needs none.
	if strings.HasPrefix(v.rule.Key, "gcpkms://") {
		g, err := google.Dial(ctx, em, log, nil)
		if err != nil {
			return nil, err
		}
		defer func() { _ = g.Close() }() // only read from
		conf.Keys = signed.KMSKeys{Client: g.KMS}
	}
	checker, err := signed.New(conf)
	if err != nil {
		return nil, err
	}
	return checker.EveryAttestation(ctx, at, v.rule, []string{vsa.PredicateType})
}

// judge compares summaries with what is asked for. Those by other verifiers, of other resources and by other policies
// are left out, and so is what their verifier has replaced.
func (v *vsaFlags) judge(img attestor.Image, all []signed.Statement, now time.Time) []judgedSummary {
	d := vsa.Demand{
		Verifiers: []string{v.verifier}, Policies: v.policies, Levels: v.levels, MaxAge: time.Duration(v.maxAge),
		Resource: func(uri string) bool {
			if v.resource != "" {
				return uri == v.resource
			}
			return vsa.Repository(uri) == img.Repository()
		},
	}

	var read []judgedSummary
	var predicates []vsa.Predicate
	for _, st := range all {
		s, err := vsa.Parse(st.Payload)
		if err != nil {
			// By the signer, and not to be understood: it may be a refusal.
			read = append(read, judgedSummary{Signer: st.Signer, Unmet: "it is malformed: " + err.Error()})
			continue
		}
		predicates = append(predicates, s.Predicate)
		if d.About(s.Predicate) {
			read = append(read, judgedSummary{Signer: st.Signer, Predicate: s.Predicate, envelope: st.Envelope})
		}
	}

	// Only the newest summary by each policy counts, so that a refusal replaces an earlier pass.
	newest := d.Newest(predicates)
	read = slices.DeleteFunc(read, func(j judgedSummary) bool {
		return j.Unmet == "" && !slices.ContainsFunc(newest, func(p vsa.Predicate) bool {
			return p.Policy.URI == j.Predicate.Policy.URI && p.TimeVerified.Equal(j.Predicate.TimeVerified) &&
				p.VerificationResult == j.Predicate.VerificationResult
		})
	})
	for i := range read {
		if read[i].Unmet == "" {
			read[i].Unmet = d.Unmet(read[i].Predicate, now)
		}
	}
	return read
}

// answerVSA prints what was found. The exit code is 0 only where there is a summary and each of them satisfies.
func (f *verifyFlags) answerVSA(w io.Writer, ref attestor.Reference, img attestor.Image, found []judgedSummary) error {
	good := len(found) > 0 && !slices.ContainsFunc(found, func(j judgedSummary) bool { return j.Unmet != "" })
	if err := f.printVSA(w, ref, img, found, good); err != nil {
		return err
	}
	if !good {
		return &exit{code: attestor.ExitDeny}
	}
	return nil
}

func (f *verifyFlags) printVSA(
	w io.Writer, ref attestor.Reference, img attestor.Image, found []judgedSummary, good bool,
) error {
	switch f.format {
	case "dsse":
		// The envelope goes into other programs: only one that was verified and counts is printed, and one alone.
		if !good {
			return nil
		}
		_, err := fmt.Fprintln(w, string(found[0].envelope))
		return err
	case "json":
		return writeJSON(w, struct {
			Image     attestor.Image  `json:"image"`
			Requested string          `json:"requested"`
			Summaries []judgedSummary `json:"summaries"`
		}{img, ref.Requested(), append([]judgedSummary{}, found...)})
	}

	printImage(w, ref, img)
	if len(found) == 0 {
		fmt.Fprintf(w, "  none   by the verifier %s and the signer, about this image\n", f.vsa.verifier)
	}
	for _, j := range found {
		p := j.Predicate
		word := "valid "
		if j.Unmet != "" {
			word = "not   "
		}
		fmt.Fprintf(w, "  %s %s by %s at %s, policy %s\n         levels %s\n", word, p.VerificationResult,
			text(p.Verifier.ID),
			p.TimeVerified.UTC().Format(time.RFC3339), text(p.Policy.URI), text(strings.Join(p.VerifiedLevels, ", ")))
		if j.Unmet != "" {
			fmt.Fprintf(w, "         %s\n", text(j.Unmet))
		}
	}
	return nil
}

func text(s string) string { return plain.Clip(s, maxStatementText) }
