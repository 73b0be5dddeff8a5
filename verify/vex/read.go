package vex

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/plain"
	"github.com/attestor-gate/attestor/internal/strictjson"
	"github.com/attestor-gate/attestor/verify/signed"
)

const (
	maxDepth = 64  // of arrays and objects within each other
	maxIDs   = 32  // names of one vulnerability
	maxParts = 512 // packages of one statement
)

// decode reads JSON that means the same to every reader. Names that are not known are ignored: both formats grow.
func decode(b []byte, v any) error {
	return strictjson.Decode(b, v, strictjson.Rules{Unknown: true, Null: true, Depth: maxDepth})
}

// attached reads the document in an in-toto statement that was verified. The signed type says which format it is.
func attached(st signed.Statement, images []attestor.Image) ([]attestor.VEXStatement, error) {
	var s struct {
		Predicate json.RawMessage `json:"predicate"`
	}
	if err := decode(st.Payload, &s); err != nil {
		return nil, err
	}
	if signed.OfType(st.PredicateType, openVEX()) {
		return readOpenVEX(s.Predicate, images)
	}
	return readCycloneDX(s.Predicate, images)
}

// document reads a document by itself.
func document(b []byte, images []attestor.Image) ([]attestor.VEXStatement, error) {
	var kind struct {
		Context   string `json:"@context"`
		BOMFormat string `json:"bomFormat"`
	}
	if err := decode(b, &kind); err != nil {
		return nil, err
	}

	// A document that is both could be read in two ways.
	isOpenVEX, isCycloneDX := strings.HasPrefix(kind.Context, "https://openvex.dev/ns"), kind.BOMFormat == "CycloneDX"
	switch {
	case isOpenVEX && !isCycloneDX:
		return readOpenVEX(b, images)
	case isCycloneDX && !isOpenVEX:
		return readCycloneDX(b, images)
	}
	return nil, errors.New("it is neither an OpenVEX nor a CycloneDX document")
}

// named is an object with a name, or, as in OpenVEX v0.0.1, the name alone.
type named struct {
	ID          string            `json:"@id"`
	Name        string            `json:"name"`
	Aliases     []string          `json:"aliases"`
	Identifiers map[string]string `json:"identifiers"`
	Hashes      map[string]string `json:"hashes"`
	Parts       []named           `json:"subcomponents"`
}

// UnmarshalJSON implements [json.Unmarshaler].
func (n *named) UnmarshalJSON(b []byte) error {
	if len(b) > 0 && b[0] == '"' {
		return json.Unmarshal(b, &n.ID)
	}
	type plainNamed named
	return decode(b, (*plainNamed)(n))
}

// readOpenVEX reads an OpenVEX document, v0.0.1 to v0.2.0.
func readOpenVEX(b []byte, images []attestor.Image) ([]attestor.VEXStatement, error) {
	var doc struct {
		Context    string `json:"@context"`
		Timestamp  string `json:"timestamp"`
		Statements []struct {
			Vulnerability named   `json:"vulnerability"`
			Products      []named `json:"products"`
			Parts         []named `json:"subcomponents"` // of v0.0.1
			Status        string  `json:"status"`
			Justification string  `json:"justification"`
			Impact        string  `json:"impact_statement"`
			Timestamp     string  `json:"timestamp"`
		} `json:"statements"`
	}
	if err := decode(b, &doc); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(doc.Context, "https://openvex.dev/ns") {
		return nil, fmt.Errorf("its context %q is not OpenVEX", plain.Clip(doc.Context, 80))
	}

	var out []attestor.VEXStatement
	for _, s := range doc.Statements {
		st := attestor.VEXStatement{
			Status: s.Status, Justification: s.Justification,
			IDs: append([]string{s.Vulnerability.Name, s.Vulnerability.ID}, s.Vulnerability.Aliases...),
		}
		if st.Justification == "" {
			st.Justification = s.Impact
		}

		// OpenVEX specification, "Status Labels": "for not_affected … MUST … provide a … justification" or an impact
		// statement. One without either excuses nothing.
		if st.Status == "not_affected" && st.Justification == "" {
			continue
		}

		// The statement's own time "overrides" the document's.
		var err error
		if st.Time, err = timeOf(s.Timestamp, doc.Timestamp); err != nil {
			return nil, err
		}
		if len(s.Products) == 0 {
			out = append(out, bounded(st, s.Parts)) // about whatever it was attached to: it can only speak against it
		}
		for _, p := range s.Products {
			about, exact := product(p, images)
			if about {
				st.Exact = exact
				out = append(out, bounded(st, append(slices.Clone(p.Parts), s.Parts...)))
			}
		}
	}
	return checked(out)
}

// readCycloneDX reads the vulnerabilities of a CycloneDX document, 1.4 or later.
func readCycloneDX(b []byte, images []attestor.Image) ([]attestor.VEXStatement, error) {
	type component struct {
		Ref     string `json:"bom-ref"`
		Version string `json:"version"`
		PURL    string `json:"purl"`
		Hashes  []struct {
			Alg     string `json:"alg"`
			Content string `json:"content"`
		} `json:"hashes"`
	}
	var doc struct {
		BOMFormat string `json:"bomFormat"`
		Metadata  struct {
			Timestamp string    `json:"timestamp"`
			Component component `json:"component"`
		} `json:"metadata"`
		Components      []component `json:"components"`
		Vulnerabilities []struct {
			ID         string `json:"id"`
			References []struct {
				ID string `json:"id"`
			} `json:"references"`
			Analysis struct {
				State         string `json:"state"`
				Justification string `json:"justification"`
				Detail        string `json:"detail"`
				LastUpdated   string `json:"lastUpdated"`
			} `json:"analysis"`
			Affects []struct {
				Ref string `json:"ref"`
			} `json:"affects"`
		} `json:"vulnerabilities"`
	}
	if err := decode(b, &doc); err != nil {
		return nil, err
	}
	if doc.BOMFormat != "CycloneDX" {
		return nil, fmt.Errorf("its bomFormat %q is not CycloneDX", plain.Clip(doc.BOMFormat, 80))
	}

	root := doc.Metadata.Component
	whole := named{ID: root.PURL, Hashes: map[string]string{}}
	if d, err := attestor.ParseDigest(root.Version); err == nil {
		whole.Hashes["sha-256"] = d.Hex()
	}
	for _, h := range root.Hashes {
		whole.Hashes[strings.ToLower(h.Alg)] = h.Content
	}
	about, exact := product(whole, images)
	if !about {
		return nil, nil // a document about another image
	}
	parts := map[string]string{}
	for _, c := range doc.Components {
		parts[c.Ref] = c.PURL
	}

	var out []attestor.VEXStatement
	for _, v := range doc.Vulnerabilities {
		st := attestor.VEXStatement{
			IDs: []string{v.ID}, Status: statusOf(v.Analysis.State), Justification: v.Analysis.Justification,
			Exact: exact,
		}
		if st.Status == "" {
			continue // a list of what was found, and no statement about it
		}
		if st.Justification == "" {
			st.Justification = v.Analysis.Detail
		}
		for _, r := range v.References {
			st.IDs = append(st.IDs, r.ID)
		}
		var err error
		if st.Time, err = timeOf(v.Analysis.LastUpdated, doc.Metadata.Timestamp); err != nil {
			return nil, err
		}

		// CycloneDX: affects[].ref "References a component or service by the objects bom-ref". One that is neither the
		// image nor one of the components names nothing that could be compared.
		var affected []named
		isWhole := false
		for _, a := range v.Affects {
			isWhole = isWhole || a.Ref != "" && a.Ref == root.Ref
			affected = append(affected, named{ID: parts[a.Ref]})
		}
		switch {
		case len(v.Affects) == 0:
			st.Exact = false
			affected = nil
		case isWhole:
			affected = nil
		}
		out = append(out, bounded(st, affected))
	}
	return checked(out)
}

// statusOf translates an analysis's state.
func statusOf(state string) string {
	switch state {
	case "resolved", "resolved_with_pedigree":
		return "fixed"
	case "not_affected", "false_positive":
		return "not_affected"
	case "in_triage":
		return "under_investigation"
	case "":
		return ""
	}
	return "affected" // exploitable, and whatever later versions say
}

// timeOf is the first of the times that is given; zero if none is.
func timeOf(list ...string) (time.Time, error) {
	for _, s := range list {
		if s == "" {
			continue
		}
		t, err := time.Parse(time.RFC3339, s)
		if err != nil {
			return t, fmt.Errorf("its time %q is malformed", plain.Clip(s, 40))
		}
		return t.UTC(), nil
	}
	return time.Time{}, nil
}

// bounded limits a statement to the parts that are named, and each text to what is kept.
func bounded(st attestor.VEXStatement, parts []named) attestor.VEXStatement {
	st.IDs = slices.DeleteFunc(slices.Clone(st.IDs), func(s string) bool { return s == "" || len(s) > 128 })
	st.Justification = plain.Clip(st.Justification, 240)
	st.Packages = nil
	for _, p := range parts {
		// A part that cannot be compared stays as one that equals nothing: without it the statement would be about the
		// whole image.
		st.Packages = append(st.Packages, part(p))
	}
	return st
}

// checked refuses documents beyond the limits: a part of a statement may say something else than the whole.
func checked(list []attestor.VEXStatement) ([]attestor.VEXStatement, error) {
	for _, st := range list {
		switch {
		case len(st.IDs) > maxIDs || len(st.Packages) > maxParts:
			return nil, fmt.Errorf("a statement names more than %d ids or %d packages", maxIDs, maxParts)
		case !slices.Contains([]string{"affected", "not_affected", "fixed", "under_investigation"}, st.Status):
			return nil, fmt.Errorf("a statement has the status %q", plain.Clip(st.Status, 40))
		}
	}
	return list, nil
}
