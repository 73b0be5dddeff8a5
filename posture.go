package attestor

// A PostureReport says how services and jobs are set up, judged by the rules of
// one profile. Its JSON is the same on the command line, in the API and in
// reports. The zero value is a denial.
type PostureReport struct {
	Verdict  Outcome          `json:"verdict"`
	Profile  string           `json:"profile"`
	Services int              `json:"services"` // judged, jobs included
	Findings []PostureFinding `json:"findings"` // one for each rule and service
}

// A PostureFinding is one rule put to one service or job.
type PostureFinding struct {
	Rule       string             `json:"rule"`
	Service    string             `json:"service"`         // project/region/name as far as known
	Kind       string             `json:"kind"`            // service, job, plan, or exception
	Owner      string             `json:"owner,omitempty"` // who answers for it: the label owner or team, else the project
	File       string             `json:"file,omitempty"`  // that defines it; "" where there is no file
	Line       int                `json:"line,omitempty"`  // where the definition begins, from 1
	Status     Status             `json:"status"`
	Message    string             `json:"message"` // what was found, and what is wanted
	Fix        string             `json:"fix,omitempty"`
	Exceptions []AppliedException `json:"exceptions,omitempty"`
}

// Missing reports whether the rule was skipped for want of evidence that could
// be given: its Fix says how. Other rules that are skipped do not apply.
func (f PostureFinding) Missing() bool { return f.Status == StatusSkipped && f.Fix != "" }
