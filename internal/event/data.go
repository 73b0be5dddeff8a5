package event

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
)

// Data is the data of every event. Which members there are depends on the event's type.
type Data struct {
	// Decision is the id of the decision that the event is about: which refused, which
	// granted the override, or by which an admission was lost.
	Decision string `json:"decision,omitempty"`
	// Revocation is the id of the revocation that deleted attestations.
	Revocation string `json:"revocation,omitempty"`
	// Emulated says that an emulator stands for Google: nothing of it is in earnest.
	Emulated bool `json:"emulated,omitempty"`
	// Image is the image that the event is about.
	Image *Image `json:"image,omitempty"`

	// Verdict is pass, deny or error.
	Verdict string `json:"verdict,omitempty"`
	// DryRun says that the decision signed nothing, whatever its verdict.
	DryRun bool `json:"dryRun,omitempty"`
	// BreakGlass says that the refusal was overridden.
	BreakGlass bool `json:"breakGlass,omitempty"`
	// Policy is the policy that the image was judged by.
	Policy *Policy `json:"policy,omitempty"`
	// Codes are the codes of the reasons that refuse, each once.
	Codes []string `json:"codes,omitempty"`
	// Reasons are the first 20 reasons that refuse.
	Reasons []Reason `json:"reasons,omitempty"`
	// ReasonsOmitted counts the further reasons.
	ReasonsOmitted int `json:"reasonsOmitted,omitempty"`
	// DurationMS is how long the decision took, in milliseconds.
	DurationMS int64 `json:"durationMs,omitempty"`

	// Expires is when the override ends; absent: it stands until it is revoked.
	Expires *time.Time `json:"expires,omitempty"`

	// Kind is who revoked: person, expired or rejudged.
	Kind string `json:"kind,omitempty"`
	// Cause is why an admitted image would be refused now: new-finding, policy or other.
	Cause string `json:"cause,omitempty"`
	// Admitted are the decisions that had admitted the image.
	Admitted []string `json:"admitted,omitempty"`
	// Attestations are those that were stored, or deleted.
	Attestations []Attestation `json:"attestations,omitempty"`

	// Stalled says what does not go on.
	Stalled *Stalled `json:"stalled,omitempty"`
	// Policies are the policies by which the gate judges from now on, and Former those
	// by which it judged before.
	Policies []Policy `json:"policies,omitempty"`
	Former   []Policy `json:"former,omitempty"`

	// RequestID is the id of the request that led to the event.
	RequestID string `json:"requestId,omitempty"`

	// Caller is who asked, overrode or revoked. Only receivers that include callers get it.
	Caller *Caller `json:"caller,omitempty"`
	// Labels are the request's. Only receivers that include labels get them.
	Labels map[string]string `json:"labels,omitempty"`
	// Reason is what a person wrote, for an override or a revocation. Only receivers that
	// include text get it.
	Reason string `json:"reason,omitempty"`
}

// An Image is one that an event is about.
type Image struct {
	// Reference names it by digest, or as requested where it could not be resolved.
	Reference string `json:"reference"`
	// Repository is the reference without tag and digest.
	Repository string `json:"repository,omitempty"`
	// Digest is absent where the image could not be resolved.
	Digest string `json:"digest,omitempty"`
}

// A Policy is one that an event names.
type Policy struct {
	// Name is the policy's name.
	Name string `json:"name"`
	// Digest is of its text.
	Digest string `json:"digest"`
	// Mode is enforce or dryRun.
	Mode string `json:"mode,omitempty"`
}

// A Reason is a reason that refuses.
type Reason struct {
	// Check is the check that refuses.
	Check string `json:"check"`
	// Code is the reason's code; docs/reasons.md has all.
	Code string `json:"code"`
	// Subject is what the reason is about, such as a CVE.
	Subject string `json:"subject,omitempty"`
	// Message says what was found and what was allowed. Only receivers that include text
	// get it.
	Message string `json:"message,omitempty"`
}

// An Attestation is one that was stored or deleted.
type Attestation struct {
	// Attestor is projects/P/attestors/A.
	Attestor string `json:"attestor"`
	// Digest is the digest that it is of.
	Digest string `json:"digest"`
}

// A Stalled is something that should happen and does not.
type Stalled struct {
	// What is rejudge-cap: a run reached the limit of revocations and stopped;
	// rejudge-late: an admitted image was not judged again for too long; or
	// expire-late: overrides are past their end.
	What string `json:"what"`
	// Since is when it happened last, or should have happened.
	Since time.Time `json:"since"`
	// Run is the run that stopped.
	Run string `json:"run,omitempty"`
}

// A Caller is who asked for something.
type Caller struct {
	// Subject is the caller's name at its issuer.
	Subject string `json:"subject"`
	// Issuer is who vouches for the name.
	Issuer string `json:"issuer,omitempty"`
}

// Bounds of what an event holds, so that one takes a few kilobytes at most.
const (
	maxReasons      = 20
	maxText         = 1000 // bytes of one text
	maxAttestations = 50
	maxLabels       = 32
	maxPolicies     = 100
)

// only returns the data without the parts that are not among parts.
func (d Data) only(parts []Part) Data {
	if !slices.Contains(parts, Labels) {
		d.Labels = nil
	}
	if !slices.Contains(parts, Callers) {
		d.Caller = nil
	}
	if !slices.Contains(parts, Text) {
		d.Reason = ""

		// The event is other receivers' too, so that its reasons are not changed in place.
		d.Reasons = slices.Clone(d.Reasons)
		for i := range d.Reasons {
			d.Reasons[i].Message = ""
		}
	}

	return d
}

// OfDecision is the data of an event about a decision.
func OfDecision(d attestor.Decision) Data {
	out := Data{
		Decision: d.ID, Emulated: d.Emulated, Image: imageOf(d), DryRun: d.DryRun, BreakGlass: d.BreakGlass != nil,
		DurationMS: d.DurationMS, Attestations: attestationsOf(d.Attestations), RequestID: cut(d.RequestID),
		Caller: callerOf(d.Caller),
	}
	if verdict, err := d.Verdict.MarshalText(); err == nil {
		out.Verdict = string(verdict)
	}
	if d.Policy != nil {
		out.Policy = &Policy{Name: d.Policy.Name, Digest: string(d.Policy.Digest), Mode: string(d.Policy.Mode)}
	}
	if d.BreakGlass != nil {
		out.Reason, out.Expires = cut(d.BreakGlass.Reason), d.BreakGlass.Expires
	}

	// Every code is named; the reasons are bounded.
	for _, c := range d.Checks {
		for _, r := range c.DecidingReasons() {
			if !slices.Contains(out.Codes, string(r.Code)) {
				out.Codes = append(out.Codes, string(r.Code))
			}
			if len(out.Reasons) == maxReasons {
				out.ReasonsOmitted++
				continue
			}
			out.Reasons = append(out.Reasons, Reason{
				Check: c.Name, Code: string(r.Code), Subject: cut(r.Subject), Message: cut(r.Message),
			})
		}
	}

	// The first labels in their order, so that an event that is written again is the same.
	for _, name := range slices.Sorted(maps.Keys(d.Labels)) {
		if len(out.Labels) == maxLabels {
			break
		}
		if out.Labels == nil {
			out.Labels = map[string]string{}
		}
		out.Labels[cut(name)] = cut(d.Labels[name])
	}
	return out
}

// Revoked is the event of a finished revocation.
func Revoked(r attestor.RevocationRecord) Event {
	t := AttestationRevoked
	if r.Kind == attestor.RevokedAtEnd {
		t = OverrideExpired
	}
	return New(t, r.ID, r.Time, r.Image.String(), OfRevocation(r))
}

// OfRevocation is the data of an event about a revocation.
func OfRevocation(r attestor.RevocationRecord) Data {
	out := Data{
		Revocation: r.ID, Emulated: r.Emulated, Image: pinned(r.Image), Kind: string(r.Kind), Cause: string(r.Cause),
		Decision: r.Judgment, Admitted: r.Admitted, Attestations: attestationsOf(r.Attestations),
		RequestID: cut(r.RequestID), Caller: callerOf(r.Caller), Reason: cut(r.Reason),
	}

	// The end of an override is about the decision that granted it.
	if r.Override != "" {
		out.Decision = r.Override
	}

	// The record has all of them.
	if len(out.Admitted) > maxAttestations {
		out.Admitted = out.Admitted[:maxAttestations]
	}
	return out
}

// OfLook is the data of an event about an admission that was lost.
func OfLook(l attestor.Rejudgement) Data {
	return Data{
		Decision: l.Decision, Image: pinned(l.Admission.Image), Verdict: string(l.Verdict), Cause: string(l.Cause),
		BreakGlass: l.Admission.BreakGlass, Admitted: []string{l.Admission.Decision},
	}
}

// OfPolicies is the data of an event about policies that changed.
func OfPolicies(before, now attestor.PolicyChange) Data {
	return Data{Policies: policiesOf(now.Policies), Former: policiesOf(before.Policies)}
}

func policiesOf(all []attestor.PolicyInForce) []Policy {
	var out []Policy
	for _, p := range all[:min(len(all), maxPolicies)] {
		out = append(out, Policy{Name: cut(p.Name), Digest: string(p.Digest)})
	}
	return out
}

func pinned(img attestor.Image) *Image {
	return &Image{Reference: img.String(), Repository: img.Repository(), Digest: string(img.Digest())}
}

func imageOf(d attestor.Decision) *Image {
	out := &Image{Reference: cut(d.Image.Reference), Digest: string(d.Image.Digest)}
	if out.Reference == "" {
		out.Reference = cut(d.Image.Requested)
	}
	if ref, err := attestor.ParseReference(d.Image.Reference); err == nil {
		out.Repository = ref.Repository()
	}
	return out
}

func attestationsOf(all []attestor.Attestation) []Attestation {
	var out []Attestation
	for _, a := range all[:min(len(all), maxAttestations)] {
		out = append(out, Attestation{Attestor: a.Attestor, Digest: string(a.Digest)})
	}
	return out
}

func callerOf(c attestor.CallerRef) *Caller {
	if c.Subject == "" {
		return nil
	}
	return &Caller{Subject: cut(c.Subject), Issuer: cut(c.Issuer)}
}

// cut bounds a text and leaves it valid UTF-8, without the character NUL, which
// PostgreSQL does not store.
func cut(s string) string {
	// Replaced first, since it may make the text longer.
	s = strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…"
}
