package engine

import (
	"bytes"
	"net"
	"net/http"
	"slices"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit/pages"
	"github.com/attestor-gate/attestor/policy"
)

func (p *pageHandler) decision(b *bytes.Buffer, r *http.Request, visible func(string) bool) error {
	rec, err := p.readable(r, visible)

	// Who may read is asked before the record says anything.
	if err != nil {
		return err
	}
	// What an earlier version recorded of a revocation in the form of a denial is shown as a revocation.
	if old, ok := attestor.AsRevocation(rec.Decision); ok && !changed(rec.Decision) {
		if read, err := p.engine.Store.Revocation(r.Context(), old.ID); err == nil {
			old = read // with the decisions that had admitted the image
		}
		return p.render.Revocation(b, old)
	}

	_, signed := p.engine.Store.LogState()
	return p.render.Decision(b, pages.Decision{Record: rec, Alike: alike(rec), Server: serverOf(r), Proof: signed})
}

// changed reports whether a decision is not what was recorded.
func changed(d attestor.Decision) bool { return d.Log != nil && d.Log.Changed != "" }

// readable is the record of the path, if the caller may read it.
func (p *pageHandler) readable(r *http.Request, visible func(string) bool) (attestor.Record, error) {
	// The repository is known only from the record, so that it is read first.
	rec, err := p.engine.Store.Record(r.Context(), r.PathValue("id"))
	if err != nil {
		return attestor.Record{}, err
	}

	// One that the caller may not read is answered as one that does not exist.
	ref, err := attestor.ParseReference(rec.Decision.Image.Reference)
	if err != nil || !visible(ref.Repository()) {
		return attestor.Record{}, &attestor.Error{Kind: attestor.NotFound, Msg: "no such decision"}
	}
	return rec, nil
}

// proof answers with the proof that the log has a decision, as a file. The API's own address is not for browsers.
func (p *pageHandler) proof(w http.ResponseWriter, r *http.Request) {
	var text []byte
	p.checked(w, r, func(visible func(string) bool) error {
		rec, err := p.readable(r, visible)
		if err != nil {
			return err
		}
		text, err = p.engine.Store.Prove(r.Context(), rec.Decision.ID)
		return err
	})

	// The page of the error was answered.
	if text == nil {
		return
	}

	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Content-Disposition", `attachment; filename="decision.tlog-proof"`)
	_, _ = w.Write(text)
}

func (p *pageHandler) revocation(b *bytes.Buffer, r *http.Request, visible func(string) bool) error {
	rec, err := p.engine.Store.Revocation(r.Context(), r.PathValue("id"))
	if err != nil {
		return err
	}
	if !visible(rec.Image.Repository()) {
		return &attestor.Error{Kind: attestor.NotFound, Msg: "no such revocation"}
	}
	return p.render.Revocation(b, rec)
}

func (p *pageHandler) reasons(b *bytes.Buffer, _ *http.Request, _ func(string) bool) error {
	return p.render.Reasons(b)
}

// serverOf is the address by which the reader reached the service, for the commands that a page shows.
func serverOf(r *http.Request) string {
	// Behind a proxy the request has no TLS; only on loopback is plain HTTP what the reader used.
	scheme := "https"
	host, _, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	if ip := net.ParseIP(host); r.TLS == nil && (host == "localhost" || ip != nil && ip.IsLoopback()) {
		scheme = "http"
	}
	return scheme + "://" + r.Host
}

// alike lists the attestors of a pass, where an override that was not closed is attested by all of them: whoever asks
// for these cannot distinguish it from a pass. A policy that this version cannot read says nothing.
func alike(rec attestor.Record) []string {
	d := rec.Decision

	// An override that was closed or revoked has no attestation that counts.
	open := d.Revoked == nil && (d.OverrideState == nil || d.OverrideState.Open)
	if d.BreakGlass == nil || d.Policy == nil || !open {
		return nil
	}

	set, err := policy.Parse(policy.Source{Name: d.Policy.Name, Text: rec.PolicyText})
	if err != nil {
		return nil
	}
	governed, ok := set.Named(d.Policy.Name)
	if !ok {
		return nil
	}

	// Attested by all attestors of a pass, which whoever verifies takes for one.
	ordinary := governed.Needs().Attest.For(false)
	for _, name := range ordinary {
		if !slices.ContainsFunc(d.Attestations, func(a attestor.Attestation) bool { return a.Attestor == name }) {
			return nil
		}
	}
	return ordinary
}
