package vuln

import (
	"errors"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/resource"
	"github.com/attestor-gate/attestor/internal/together"
)

const (
	// maxFilter bounds the filter of several images, in bytes. Container Analysis documents no limit; gcloud sends
	// filters of six resources, and one of an index with sixteen children is as long.
	maxFilter = 8 << 10

	// singlesAtOnce bounds the concurrent lists of a group that is read image by image.
	singlesAtOnce = 16
)

// A group is questions that one list answers: those of an index's children. The occurrences of one question's images
// say nothing of another's; each question keeps its own.
type group struct {
	questions []question
	projects  []string // the same for all
	wait      time.Duration

	// filter lists all that may be a finding, by leaving out the kinds that are not; known lists the kinds that are
	// judged, for a service that does not take the other form.
	filter, known string
}

// newGroup makes the filters. A filter saves traffic; what counts is decided by the URIs of each question, when an
// occurrence is read.
func newGroup(wait time.Duration, questions ...question) group {
	g := group{questions: questions, projects: questions[0].projects, wait: wait}
	uris := g.uris()
	g.filter, g.known = resource.FilterExcept(noFindings(), uris), resource.Filter(findingKinds(), uris)
	return g
}

// uris are those that an occurrence may name, each once.
func (g group) uris() []string {
	var out []string
	for _, q := range g.questions {
		for _, u := range q.sortedURIs() {
			if !slices.Contains(out, u) {
				out = append(out, u)
			}
		}
	}
	return out
}

// key is equal for groups that have the same answers.
func (g group) key() string {
	keys := make([]string, len(g.questions))
	for i, q := range g.questions {
		keys[i] = q.key()
	}
	return strings.Join(keys, "\n")
}

// singles are the groups of one question each that a group consists of.
func (g group) singles() []group {
	out := make([]group, len(g.questions))
	for i, q := range g.questions {
		out[i] = newGroup(g.wait, q)
	}
	return out
}

// grouped puts questions of the same projects and patience together, as far as their filter stays short enough. place
// says for each question of each group whose it is.
func grouped(questions []question, waits []time.Duration, of []int) (groups []group, place [][]int) {
	for i, q := range questions {
		// Other projects, or another patience, would need another list or another end.
		at := slices.IndexFunc(groups, func(g group) bool {
			return g.wait == waits[i] && slices.Equal(g.projects, q.projects) && g.fits(q)
		})
		if at < 0 {
			groups, place = append(groups, newGroup(waits[i], q)), append(place, []int{of[i]})
			continue
		}
		groups[at] = newGroup(waits[i], append(slices.Clip(groups[at].questions), q)...)
		place[at] = append(place[at], of[i])
	}
	return groups, place
}

// fits reports whether the filter of the group stays short enough with one more question.
func (g group) fits(q question) bool {
	g.questions = append(slices.Clip(g.questions), q)
	return len(resource.FilterExcept(noFindings(), g.uris())) <= maxFilter
}

// An answer is a scan and whether asking again may turn out otherwise.
type answer struct {
	scan  attestor.Scan
	again bool
}

func again(answers []answer) bool {
	return slices.ContainsFunc(answers, func(a answer) bool { return a.again })
}

func scansOf(answers []answer) []attestor.Scan {
	out := make([]attestor.Scan, len(answers))
	for i, a := range answers {
		out[i] = a.scan
	}
	return out
}

// failedAll is the answer of a group about whose lists nothing is known.
func failedAll(g group, err error) []answer {
	out := make([]answer, len(g.questions))
	for i := range out {
		out[i] = answer{scan: unavailable(reasonOf(err)), again: transient(err)}
	}
	return out
}

// divisible reports whether a list about several images failed for a reason that lists about each of them may not
// have: the service does not take the filter, or the images together have more findings than one list may hold.
func divisible(err error) bool { return refusedForm(err) || errors.Is(err, errTooMuch) }

// refusedForm reports whether the service answered that it does not understand the request.
func refusedForm(err error) bool {
	e, ok := errors.AsType[*attestor.Error](err)
	if ok && e.Err != nil {
		err = e.Err
	}
	code := status.Code(err)
	return code == codes.InvalidArgument || code == codes.Unimplemented
}

// singly reads a group image by image. On success after a refusal it is remembered that the service takes no filter
// over several images: only then was the filter at fault, and not, for instance, the project.
func (s *Scanner) singly(read func(group) []answer, g group, refusal bool) []answer {
	singles := g.singles()
	answers := make([]answer, len(singles))

	var wg together.Group
	turns := make(chan struct{}, singlesAtOnce)
	for i, single := range singles {
		wg.Go(func() {
			turns <- struct{}{}
			defer func() { <-turns }()
			answers[i] = read(single)[0]
		})
	}
	wg.Wait()

	answered := func(a answer) bool { return a.scan.State != attestor.ScanUnavailable }
	if refusal && !slices.ContainsFunc(answers, func(a answer) bool { return !answered(a) }) {
		s.noUnions.Store(true)
	}
	return answers
}
