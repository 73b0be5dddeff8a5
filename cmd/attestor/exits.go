package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/client"
)

// endings are the exit codes that a command can end with, each with its meaning there.
type endings map[int]string

// Meanings that many commands share.
const (
	wrongUsage    = "wrong usage or configuration"
	nothingToDo   = "wrong usage, or nothing to judge"
	notDecided    = "it could not be decided"
	cannotBeAsked = "the service or the record cannot be reached"
)

// exitCodes is the one table of exit codes, by a command's words after `attestor`. Help prints a command's row, and
// docs/commands.md the whole table. A command that is not listed fails a test.
func exitCodes() map[string]endings {
	ended := endings{0: "ended by SIGTERM or an interrupt", 2: wrongUsage}
	judged := endings{
		0: "every image passed, or its policy only reports", 1: "an image was refused",
		2: wrongUsage + ", or an unknown image", 3: notDecided,
	}
	recorded := endings{0: "answered, even if nothing matches", 2: wrongUsage, 3: cannotBeAsked}

	return map[string]endings{
		"attest": judged,
		"check":  judged,
		"audit": {
			0: "every image passed", 1: "an image would be refused", 2: nothingToDo,
			3: notDecided + ", or not all of it",
		},
		"audit preflight": {
			0: "nothing would be blocked", 1: "a container would be blocked", 2: nothingToDo,
			3: "some of it could not be found out",
		},
		"verify": {0: "a valid attestation stands", 1: "none does", 2: wrongUsage + ", or an unknown image",
			3: "it could not be found out"},
		"revoke": {0: "no attestation of this gate stands any more", 2: wrongUsage + ", or an unknown image",
			3: "not all are deleted"},

		"decisions list":   recorded,
		"decisions export": recorded,
		"decisions prove": {0: "proven", 2: wrongUsage + ", or an unknown decision",
			3: cannotBeAsked + ", or its log cannot be signed now"},
		"decisions verify": {0: "the record is unchanged", 1: "something in it was changed", 2: wrongUsage,
			3: "it could not be found out"},
		"decisions log-key":  {0: "printed", 2: wrongUsage, 3: "Cloud KMS cannot be asked"},
		"decisions policies": {0: "printed", 1: "a change's record was changed", 2: wrongUsage, 3: cannotBeAsked},
		"decisions unrecorded": {0: "the record explains every attestation", 1: "an attestation without a decision stands",
			2: wrongUsage, 3: "not every attestation was compared, or a decision has not ended"},
		"decisions prune": {0: "deleted, or nothing was old enough", 2: wrongUsage, 3: cannotBeAsked},
		"events list":     recorded,
		"events redrive":  {0: "queued to be sent again, or there was none", 2: wrongUsage, 3: cannotBeAsked},
		"explain": {0: "explained", 1: "the record was changed", 2: wrongUsage + ", or an unknown decision",
			3: cannotBeAsked},
		"report": recorded,

		"policy lint":   {0: "the policies load", 2: "they do not, or with --strict something is odd"},
		"policy schema": {0: "printed", 2: wrongUsage},
		"policy test": {0: "every case has the expected result",
			1: "a case has another result, or --min-coverage is not reached",
			2: "a file does not load"},
		"policy explain": {0: "a policy governs the image", 1: "none does", 2: wrongUsage},
		"policy simulate": {0: "judged again", 1: "with --fail: an image that passed would not", 2: nothingToDo,
			3: cannotBeAsked},

		"policy import": {
			0: "written, and at least as strict as its source", 1: "a requirement cannot be carried over, and " +
				"nothing is written",
			2: wrongUsage + ", or no policy of these formats",
		},

		"identity explain": {0: "somebody may do something", 1: "nobody may", 2: wrongUsage},

		"posture": {0: "no finding denies", 1: "a finding denies", 2: nothingToDo, 3: notDecided},
		"import":  {0: "stored", 2: wrongUsage + ", or no report of a scan", 3: "not stored"},
		"dev":     ended,
		"serve": {0: "ended by SIGTERM or an interrupt, or --check found nothing wrong", 2: wrongUsage,
			3: "--check could not find out"},
		"doctor": {
			0: "everything that decisions need works", 1: "a permission or a resource is missing",
			2: wrongUsage, 3: "a dependency did not answer",
		},
		"emulator": ended,
		"version":  {0: "printed", 2: wrongUsage},
	}
}

// sentence lists the codes in order.
func (e endings) sentence() string {
	var parts []string
	for _, code := range slices.Sorted(maps.Keys(e)) {
		parts = append(parts, fmt.Sprintf("  %d  %s", code, e[code]))
	}
	return "Exit codes:\n" + strings.Join(parts, "\n")
}

// sayExitCodes ends each command's help with its exit codes.
func sayExitCodes(c *cobra.Command, path string, table map[string]endings) {
	for _, sub := range c.Commands() {
		sayExitCodes(sub, strings.TrimSpace(path+" "+sub.Name()), table)
	}

	if e, listed := table[path]; listed {
		text := c.Long
		if text == "" {
			text = c.Short + "."
		}
		c.Long = text + "\n\n" + e.sentence()
	}
}

// endsWith is the code to end with where --exit-zero asks for a report: 1 becomes 0, and nothing else does.
func endsWith(code int, exitZero bool) error {
	if code == attestor.ExitPass || code == attestor.ExitDeny && exitZero {
		return nil
	}
	return &exit{code: code}
}

// exitFor is the exit code of an error without a decision: wrong usage where whoever calls can mend it, else "could
// not decide".
func exitFor(err error) int {
	if e, ok := errors.AsType[*client.Error](err); ok {
		return e.ExitCode // a service has said whose fault it is
	}

	switch attestor.KindOf(err) {
	case attestor.Invalid, attestor.NotFound, attestor.TooLarge, attestor.Unsupported:
		return attestor.ExitUsage
	}
	return attestor.ExitError
}
