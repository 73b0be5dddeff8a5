package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/audit"
	"github.com/attestor-gate/attestor/internal/describe"
	"github.com/attestor-gate/attestor/server/watch"
)

// publish has the instances of the gate judge what is found. It keeps no reference
// in memory but those of one message.
func (f *auditFlags) publish(c *cobra.Command, repositories []string) (err error) {
	// Flags about judging and reporting would have no effect here.
	for _, name := range []string{"server", "policy", "state", "posture", "at-once", "exit-zero", "output", "output-file",
		"title", "group-by", "previous", "links"} {
		if given(c, name) {
			return fmt.Errorf("--spread and --%s exclude each other: the instances of the gate judge by their own "+
				"configuration, and attestor report writes the report", name)
		}
	}

	// A server may also be named by a variable.
	f.where.server = ""
	j, err := f.where.judge(c, question{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, j.close()) }()
	services, err := newServicesFound("off")
	if err != nil {
		return err
	}
	listed := countOnly()
	refs, err := f.references(c, repositories, plainHosts(j), services, listed)
	if err != nil {
		return err
	}

	// In whole seconds, rounded down: no decision of the sweep is before it.
	start := time.Now().UTC().Truncate(time.Second)
	p := spreading{publish: j.engine.Spread}
	for ref, listing := range refs {
		if err = listing; err != nil {
			break
		}
		parsed, bad := attestor.ParseReference(ref)
		if bad != nil {
			p.malformed++
			fmt.Fprintf(c.ErrOrStderr(), "attestor: %s: %s\n", ref, attestor.Message(bad))
			continue
		}
		if p.published+len(p.batch) == audit.MaxReferences {
			err = audit.TooManyReferences() // no registry lists for ever
			break
		}
		if err = p.add(c.Context(), parsed); err != nil {
			break
		}
	}
	err = cmp.Or(err, p.flush(c.Context()))

	// What was published is judged in any case, so that it is said on errors too.
	if p.published > 0 {
		fmt.Fprintf(c.ErrOrStderr(), "%s published in %s to %s; their decisions are dry runs in the record:\n"+
			"attestor report --since %s\n", describe.Plural(p.published, "reference"),
			describe.Plural(p.messages, "message"), j.engine.Config.Rejudge.Topic, start.Format(time.RFC3339))
	}
	switch {
	case err != nil:
		return &exit{code: exitFor(err), err: err}
	case p.published == 0:
		return noImage(listed)
	case p.malformed > 0:
		return &exit{code: attestor.ExitError}
	}
	return nil
}

// spreading publishes references, so many in a message.
type spreading struct {
	publish func(context.Context, []attestor.Reference) error
	batch   []attestor.Reference

	published, messages, malformed int
}

func (p *spreading) add(ctx context.Context, ref attestor.Reference) error {
	p.batch = append(p.batch, ref)
	if len(p.batch) < watch.MaxSwept {
		return nil
	}
	return p.flush(ctx)
}

// flush publishes what was added since the last message.
func (p *spreading) flush(ctx context.Context) error {
	if len(p.batch) == 0 {
		return nil
	}
	if err := p.publish(ctx, p.batch); err != nil {
		return err
	}
	p.published, p.messages, p.batch = p.published+len(p.batch), p.messages+1, p.batch[:0]
	return nil
}
