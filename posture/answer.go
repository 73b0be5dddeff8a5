package posture

import (
	"fmt"
	"strings"
)

type state int

// The states of an answer; the zero state is no answer.
const (
	stateNone state = iota
	stateSatisfied
	stateViolated
	stateWarned       // a warning at every level of the rule
	stateMissing      // the input lacks the evidence
	stateUndetermined // a look-up of the evidence failed
	stateNotInPlan    // the plan has no resource of the rule's kinds
)

// An answer is the result of one rule for one service.
type answer struct {
	state    state
	found    string
	required string
	faults   []fault // at least one where the rule is violated
	remedy   remedy
	supply   string // how to supply the evidence where it is missing or undetermined
}

// A fault is one violation. An exception may name its subject, and then excuses
// no other fault of the same rule.
type fault struct {
	subject string // a container, a variable, a member; may be empty
	found   string
}

// A remedy is the change that clears a finding, in each form of definition.
type remedy struct {
	flag      string // of gcloud run services update, or jobs update
	command   string // a whole command, where there is no flag
	yaml      string
	v2        string
	terraform string

	dockerfile string
}

func satisfied(format string, args ...any) answer {
	return answer{state: stateSatisfied, found: fmt.Sprintf(format, args...)}
}

func missingEvidence(found, supply string) answer {
	return answer{state: stateMissing, found: found, supply: supply}
}

func undetermined(found, supply string) answer {
	return answer{state: stateUndetermined, found: found, supply: supply}
}

func violated(required string, m remedy, faults ...fault) answer {
	return answer{state: stateViolated, found: listFaults(faults), required: required, remedy: m, faults: faults}
}

// listFaults joins the first eight faults and counts the rest.
func listFaults(faults []fault) string {
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

// of writes the remedy for the form in which the service is defined. Names come
// from the document and end up in commands that people paste, so that [shell]
// replaces everything but plain resource names.
func (m remedy) of(s *workload) string {
	command := m.command
	if m.flag != "" {
		command = "gcloud run " + s.collection() + " update " + shell(s.name, "NAME")
		if s.region.text != "" {
			command += " --region=" + shell(s.region.text, "REGION")
		}
		command += " " + m.flag
	}

	if s.form == formDockerfile {
		return "in the Dockerfile: " + m.dockerfile
	}

	line := map[form]string{formKnative: m.yaml, formV2: m.v2, formTerraform: m.terraform, formTerraformV1: m.yaml}[s.form]
	where := map[form]string{formKnative: "in the YAML", formV2: "in the v2 JSON", formTerraform: "in Terraform",
		formTerraformV1: "in Terraform's metadata and template blocks"}[s.form]

	// "spec.template" of a Job is its execution; the task is one template deeper.
	if s.kind == kindJob && s.form == formKnative {
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

// block writes a block of Terraform's over several lines: HCL allows one argument
// and no nested block in a block on one line.
func block(name string, lines ...string) string {
	return name + " {\n  " + strings.ReplaceAll(strings.Join(lines, "\n"), "\n", "\n  ") + "\n}"
}

// shell returns a name that needs no quoting in a shell, or else the placeholder.
func shell(s, placeholder string) string {
	if s == "" || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return placeholder
	}
	return s
}
