package main

import (
	"context"
	"encoding/json"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/posture"
)

// servicesFound gathers the services and jobs that a sweep meets, for their posture.
type servicesFound struct {
	profile *posture.Profile // nil: nobody asks for it
	in      posture.Input
}

// newServicesFound reads the profile that --posture names, before anything is
// judged; off is none.
func newServicesFound(profile string) (*servicesFound, error) {
	if profile == "off" {
		return &servicesFound{}, nil
	}

	p, err := posture.LoadProfile(profile)
	return &servicesFound{profile: &p}, err
}

// listed keeps the definitions of a list of gcloud. Revisions and instances have no posture of their own.
func (s *servicesFound) listed(name string, text []byte) {
	var all []json.RawMessage
	if s.profile == nil || json.Unmarshal(text, &all) != nil {
		return
	}
	for _, one := range all {
		var of struct {
			Kind string `json:"kind"`
		}
		if json.Unmarshal(one, &of) == nil && of.Kind != "Revision" && of.Kind != "Instance" {
			s.in.Definitions = append(s.in.Definitions, posture.Source{Name: name, Text: one})
		}
	}
}

// seen keeps a service or job that the Cloud Run API listed.
func (s *servicesFound) seen(d audit.Definition) {
	source := posture.Source{Name: d.Name, Text: d.Text}
	s.in.Definitions = append(s.in.Definitions, source)

	if part := strings.Split(d.Name, "/"); d.IAM != nil && len(part) == 6 { // projects/P/locations/L/services/S

		// The policy belongs to this one service: its kind and region distinguish it from others of its name.
		source.Text = d.IAM
		s.in.IAM = append(
			s.in.IAM,
			posture.IAM{Service: part[5], Region: part[3], Kind: strings.TrimSuffix(part[4], "s"),
				Source: source},
		)
	}
}

// judge is nil where none was met. What cannot be judged is undecided, in every
// form of the report, beside the error.
func (s *servicesFound) judge(ctx context.Context, attested posture.Attested) (*attestor.PostureReport, error) {
	if s.profile == nil || len(s.in.Definitions) == 0 {
		return nil, nil //nolint:nilnil // there is nothing to tell
	}

	c := posture.Config{Profile: *s.profile, Now: time.Now, Attested: attested}
	judge, err := posture.New(c)
	if err != nil {
		return nil, err
	}

	r, err := judge.Judge(ctx, s.in)

	// An error is undecided in the report too: a report without the services would read as a pass on them.
	if err != nil {
		r = attestor.PostureReport{
			Profile:  s.profile.Name(),
			Services: len(s.in.Definitions),
			Verdict:  attestor.Undecided,
		}
	}

	return &r, err
}
