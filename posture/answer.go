package posture

import (
	"fmt"
	"strings"
)

type state int

// The states of an answer; the zero state is no answer.
const (
	stateNone state = iota
	stateGood
	stateBad
	stateAdmonished // good enough, with a warning whatever the level
	stateLacking    // the evidence was not given
	stateFailed     // the evidence could not be got
	stateElsewhere  // a plan has nothing that the rule is about, and need not have
)

// An answer is what a rule makes of a service.
type answer struct {
	state  state
	found  string
	wanted string
	faults []fault // where bad: at least one
	mend   mend
	give   string // where lacking or failed: what would give the evidence
}

// A fault is one thing that is wrong. An exception may be about its subject
// alone.
type fault struct {
	subject string // a container, a variable, a member; may be empty
	found   string
}

// A mend says how to set things right, in each form that a definition has.
type mend struct {
	flag      string // of gcloud run services update, or jobs update
	command   string // a whole command, where no flag does it
	yaml      string
	v2        string
	terraform string
}

func good(format string, args ...any) answer {
	return answer{state: stateGood, found: fmt.Sprintf(format, args...)}
}

func lacking(found, give string) answer { return answer{state: stateLacking, found: found, give: give} }

func failed(found, give string) answer { return answer{state: stateFailed, found: found, give: give} }

func bad(wanted string, m mend, faults ...fault) answer {
	return answer{state: stateBad, found: tell(faults), wanted: wanted, mend: m, faults: faults}
}

// tell joins faults, the first few in full.
func tell(faults []fault) string {
	const most = 8
	var all []string
	for i, f := range faults {
		if i == most {
			all = append(all, fmt.Sprintf("and %d more", len(faults)-most))
			break
		}
		all = append(all, f.found)
	}

	return strings.Join(all, ", ")
}

// of writes the mend for a service's own form first.
func (m mend) of(s *service) string {
	command := m.command
	if m.flag != "" {
		command = "gcloud run " + s.kind + "s update " + shell(s.name, "NAME")
		if s.region.text != "" {
			command += " --region=" + shell(s.region.text, "REGION")
		}
		command += " " + m.flag
	}

	line := map[form]string{formKnative: m.yaml, formV2: m.v2, formTerraform: m.terraform, formTerraformV1: m.yaml}[s.form]
	where := map[form]string{formKnative: "in the YAML", formV2: "in the v2 JSON", formTerraform: "in Terraform",
		formTerraformV1: "in Terraform's metadata and template blocks"}[s.form]

	if s.kind == kindJob && s.form == formKnative { // a job's task stands one template deeper
		line = strings.ReplaceAll(line, "spec.template.spec.", "spec.template.spec.template.spec.")
	}

	switch {
	case line == "":
		return command
	case command == "":
		return where + ": " + line
	case s.form == formTerraform || s.form == formTerraformV1:
		return where + ": " + line + " (or " + command + ")"
	}

	return command + ", or " + where + ": " + line
}

// shell is a name that can stand in a command, or the placeholder.
func shell(s, placeholder string) string {
	if s == "" || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return placeholder
	}
	return s
}
