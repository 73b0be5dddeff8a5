package main

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

// notAsked is the rest of what the gate assumes, of a trial that builds nothing.
func notAsked() []string {
	return append([]string{
		"builds, their digests; scans: their states, times and findings: give a region",
		"enforcement by Cloud Run, break-glass, and what a revocation does: give a region",
		"topics of Container Analysis, Artifact Registry's referrers and upload times: give a region",
	}, stillNotAsked()...)
}

// stillNotAsked is what no trial asks yet.
func stillNotAsked() []string {
	return []string{
		"scans: the kinds SECRET and malware, indexes and their children",
		"Cloud Build's provenance and SBOMs",
		"enforcement by GKE, and the audit log's entry of break-glass",
		"messages of topics, audiences of ID tokens, and IAP's headers",
		"quotas, and the time until a change of IAM or an attestor holds everywhere",
	}
}
