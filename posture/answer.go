package posture

import (
	"cmp"
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
	stateNotInPlan    // the plan has no resource of the rule's kinds, or the workload none of what the rule is about
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
	flag       string   // of gcloud run services update, or that of another kind of workload
	containers []string // that the flag and the edits of containers are about, where there are several
	command    string   // a whole command, where there is no flag
	knative    []edit   // of YAML, and of google_cloud_run_service
	fields     []edit   // of the v2 API's JSON, and of Terraform's v2 resources
	function   string   // in Terraform, of google_cloudfunctions2_function
	terraform  string   // where the change is not in the workload

	dockerfile string
}

func satisfied(format string, args ...any) answer {
	return answer{state: stateSatisfied, found: fmt.Sprintf(format, args...)}
}

func missingEvidence(found, supply string) answer {
	return answer{state: stateMissing, found: found, supply: supply}
}

// notAbout is the answer for a workload that has nothing which the rule is about: it neither keeps nor breaks the rule.
func notAbout(found string) answer { return answer{state: stateNotInPlan, found: found} }

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

// of writes the remedy for the form in which the workload is defined. Names come
// from the document and end up in commands that people paste, so that [shell]
// replaces everything but plain resource names.
func (m remedy) of(s *workload) string {
	if s.form == formDockerfile {
		return "in the Dockerfile: " + m.dockerfile
	}

	command := m.command

	// gcloud applies the flags that follow --container to that container.
	if m.flag != "" && s.kind != kindFunction {
		command = s.gcloud() + " update " + shell(s.name, "NAME") + s.inRegion()
		for _, name := range m.containers {
			command += " --container=" + name + " " + m.flag
		}
		if len(m.containers) == 0 {
			command += " " + m.flag
		}
	}

	line := m.pasted(s)

	// A plan's resources are changed in Terraform's text: the next apply would undo a command.
	if s.form == formTerraform || s.form == formTerraformV1 || s.form == formFunction {
		line = cmp.Or(m.terraform, line)
	}
	if s.form == formFunction {
		line = cmp.Or(m.function, m.terraform)
	}
	if s.form == formResource {
		line = cmp.Or(m.terraform, line)
	}
	where := map[form]string{formConnector: "in the YAML: ", formResource: "in Terraform's notation: ",
		formKnative: "in the YAML: ", formV2: "in the v2 JSON: ", formTerraform: "in Terraform: ",
		formTerraformV1: "in Terraform: ", formFunction: "in Terraform: "}[s.form]

	switch {
	case line == "":
		return command
	case command == "":
		return where + line
	case s.form == formConnector: // a controller takes back what a command changes
		return where + line
	case s.form == formKnative || s.form == formV2:
		return command + ", or " + where + line
	}

	return where + line + " (or " + command + ")"
}

// inRegion is the flag that says where a workload is.
func (s *workload) inRegion() string {
	if s.region.text == "" {
		return ""
	}
	return " --region=" + shell(s.region.text, "REGION")
}

// containerOf names a container for the flag --container, which commands need where there are several.
func containerOf(s *workload, name string) string {
	if len(s.containers) < 2 {
		return ""
	}
	return shell(name, "CONTAINER")
}

// block writes a block of Terraform's over several lines: HCL allows one argument
// and no nested block in a block on one line.
func block(name string, lines ...string) string {
	return name + " {\n  " + strings.ReplaceAll(strings.Join(lines, "\n"), "\n", "\n  ") + "\n}"
}

// shell returns a name that needs no quoting in a shell and is no flag, or else the placeholder.
func shell(s, placeholder string) string {
	if s == "" || s[0] == '-' || strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") != "" {
		return placeholder
	}
	return s
}
