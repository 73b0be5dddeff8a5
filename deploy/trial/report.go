package main

import "fmt"

// A report is what a trial found, without names.
type report struct {
	// Format is attestor-trial/1.
	Format string `json:"format"`
	// Against is "google" or "emulator".
	Against string `json:"against"`
	// Complete is false where the trial ended early; facts are then missing.
	Complete bool   `json:"complete"`
	Facts    []fact `json:"facts"`
	// Behaviour is what `attestor emulator --behave-like` takes over.
	Behaviour behaviour `json:"behaviour"`
	// Left is what could not be deleted.
	Left []string `json:"left"`
	// NotAsked is what no trial of this kind can show, or this one does not.
	NotAsked []string `json:"notAsked"`
}

// A fact is one assumption about Google's services.
type fact struct {
	ID       string `json:"id"`
	Question string `json:"question"`
	Assumed  string `json:"assumed"`
	Found    string `json:"found"`
	Agrees   bool   `json:"agrees"`
}

// behaviour has the fields that the emulator reads; those that were not found out are not there.
type behaviour struct {
	Uniqueness      string `json:"uniqueness,omitempty"`
	RefuseUpdates   *bool  `json:"refuseUpdates,omitempty"`
	RefuseBatches   *bool  `json:"refuseBatches,omitempty"`
	RefuseUnions    *bool  `json:"refuseUnions,omitempty"`
	RefuseDeletes   *bool  `json:"refuseDeletes,omitempty"`
	ListLag         string `json:"listLag,omitempty"`
	NoProviderNotes *bool  `json:"noProviderNotes,omitempty"`
}

// notAsked is the rest of what the gate assumes, each with the reason. What turns out to be impossible is added later.
func (t *trial) notAsked() []string {
	var out []string
	if t.rest.http == nil {
		out = append(out, "IAM's errors, how long a change of IAM takes, audiences of ID tokens, and quotas: an emulator has no "+
			"such services")
	}
	if t.rest.http == nil || t.region == "" {
		out = append(out,
			"builds, their digests and provenance; scans: their states, times, findings, secrets and malicious packages, also of "+
				"an index: give a region",
			"enforcement by Cloud Run, break-glass and the audit log's entry of it, and what a revocation does: give a region",
			"topics of Container Analysis and their messages, Artifact Registry's referrers and upload times: give a region",
		)
	}
	if t.tool == "" {
		out = append(out, "gcloud's list of attestations, and its copy of the key: give gcloud")
	}
	if !t.proxied {
		out = append(out, "IAP's headers: they reach a service behind IAP only, which needs an organisation: give -iap")
	}
	return append(out,
		"SBOMs of Artifact Analysis: they are exported into a bucket that the project does not have",
		"enforcement by GKE: it needs a cluster",
	)
}

// skip adds what could not be asked, with the reason.
func (t *trial) skip(text string) {
	t.report.NotAsked = append(t.report.NotAsked, t.nameless(text))
	fmt.Fprintln(t.log, "not asked:", text)
}
