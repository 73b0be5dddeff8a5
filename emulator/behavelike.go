package emulator

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/attestor-gate/attestor/internal/strictjson"
	"github.com/attestor-gate/attestor/internal/when"
)

// trialFormat is the format of the documents that deploy/trial writes about a real project.
const trialFormat = "attestor-trial/1"

// maxTrial bounds such a document.
const maxTrial = 1 << 20

// behaviourJSON is what a document has under "behaviour": of the fields of [Behaviour] those that the live services
// decide. A field that is not there was not found out.
type behaviourJSON struct {
	Uniqueness      *string `json:"uniqueness"`
	RefuseUpdates   *bool   `json:"refuseUpdates"`
	RefuseBatches   *bool   `json:"refuseBatches"`
	RefuseUnions    *bool   `json:"refuseUnions"`
	RefuseDeletes   *bool   `json:"refuseDeletes"`
	ListLag         *string `json:"listLag"`
	EmptyPages      *int    `json:"emptyPages"`
	NoProviderNotes *bool   `json:"noProviderNotes"`
	Quotas          []struct {
		Method string `json:"method"`
		Limit  int    `json:"limit"`
		Per    string `json:"per"`
	} `json:"quotas"`
}

// ReadBehaviour reads what a trial of the live services found, from the document that deploy/trial wrote: "format" and
// "behaviour"; the rest of it is for readers. What was not found out stays as the zero value has it. An unknown field
// of the behaviour is an error, since it would be one that is silently not emulated.
func ReadBehaviour(r io.Reader) (Behaviour, error) {
	text, err := io.ReadAll(io.LimitReader(r, maxTrial+1))
	if err != nil {
		return Behaviour{}, fmt.Errorf("reading a trial's report: %w", err)
	}
	if len(text) > maxTrial {
		return Behaviour{}, fmt.Errorf("reading a trial's report: more than %d bytes", maxTrial)
	}

	// Twice: the report is for readers too and may grow, the behaviour must be known whole.
	var doc struct {
		Format    string          `json:"format"`
		Behaviour json.RawMessage `json:"behaviour"`
	}
	if err := strictjson.Decode(text, &doc, strictjson.Rules{Unknown: true, Null: true}); err != nil {
		return Behaviour{}, fmt.Errorf("reading a trial's report: %w", err)
	}
	if doc.Format != trialFormat || doc.Behaviour == nil {
		return Behaviour{}, fmt.Errorf("reading a trial's report: want format %q and a behaviour, got format %q",
			trialFormat, doc.Format)
	}

	var in behaviourJSON
	err = strictjson.Decode(doc.Behaviour, &in, strictjson.Rules{Null: true})
	if e, ok := errors.AsType[*strictjson.Error](err); ok && e.At != "" {
		return Behaviour{}, fmt.Errorf("reading a trial's behaviour: at %s: %w", e.At, err)
	}
	if err != nil {
		return Behaviour{}, fmt.Errorf("reading a trial's behaviour: %w", err)
	}
	b, err := in.behaviour()
	if err == nil {
		err = b.validate()
	}
	if err != nil {
		return Behaviour{}, fmt.Errorf("reading a trial's behaviour: %w", err)
	}
	return b, nil
}

func (in behaviourJSON) behaviour() (Behaviour, error) {
	var b Behaviour
	var errs []error
	duration := func(s string) time.Duration {
		d, err := when.ParseDuration(s)
		errs = append(errs, err)
		return d
	}

	if in.Uniqueness != nil {
		u, err := ParseUniqueness(*in.Uniqueness)
		b.Uniqueness, errs = u, append(errs, err)
	}
	if in.RefuseUpdates != nil {
		b.RefuseUpdates = *in.RefuseUpdates
	}
	for _, f := range []struct {
		found *bool
		into  *bool
	}{{in.RefuseBatches, &b.RefuseBatches}, {in.RefuseUnions, &b.RefuseUnions}, {in.RefuseDeletes, &b.RefuseDeletes}} {
		if f.found != nil {
			*f.into = *f.found
		}
	}
	if in.ListLag != nil {
		b.ListLag = duration(*in.ListLag)
	}
	if in.EmptyPages != nil {
		b.EmptyPages = *in.EmptyPages
	}
	if in.NoProviderNotes != nil {
		b.NoProviderNotes = *in.NoProviderNotes
	}
	for _, q := range in.Quotas {
		b.Quotas = append(b.Quotas, Quota{Method: q.Method, Limit: q.Limit, Per: duration(q.Per)})
	}
	return b, errors.Join(errs...)
}
