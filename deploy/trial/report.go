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
	ListLag         string `json:"listLag,omitempty"`
	NoProviderNotes *bool  `json:"noProviderNotes,omitempty"`
}

// notAsked is the rest of what the gate assumes.
func notAsked() []string {
	return []string{
		"scans: their states, times, kinds (SECRET, malware), indexes and their children: needs images that are built and pushed",
		"Cloud Build's provenance and SBOMs",
		"enforcement by Cloud Run and GKE, and break-glass",
		"topics of Container Analysis and the registry, and their messages",
		"audiences of ID tokens, and IAP's headers",
		"Artifact Registry's referrers and upload times",
		"quotas, and the time until a change of IAM, an attestor or a policy holds everywhere",
	}
}
