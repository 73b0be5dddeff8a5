package policy

import (
	"slices"
	"time"

	"github.com/attestor-gate/attestor"
)

// The variables of rules, as docs/rules.md documents them. What a type's name
// says is whose word it is.
type (
	// RuleSubject is what the gate itself found out about the manifest: variable subject.
	RuleSubject struct {
		Registry   string    `cel:"registry"`
		Repository string    `cel:"repository"`
		Digest     string    `cel:"digest"`
		Platform   string    `cel:"platform"`
		MediaType  string    `cel:"mediaType"`
		Index      bool      `cel:"index"`
		Size       int64     `cel:"size"`
		Layers     int64     `cel:"layers"`
		Uploaded   time.Time `cel:"uploaded"` // year 1 where it is not known
	}
	// RuleImage is what the image's author claims: variable image.
	RuleImage struct {
		User         string            `cel:"user"`
		Created      time.Time         `cel:"created"` // year 1 where it is not given
		Labels       map[string]string `cel:"labels"`
		Annotations  map[string]string `cel:"annotations"`
		EnvNames     []string          `cel:"envNames"`
		SecretEnv    []string          `cel:"secretEnv"`
		Entrypoint   []string          `cel:"entrypoint"`
		Cmd          []string          `cel:"cmd"`
		ExposedPorts []string          `cel:"exposedPorts"`
	}
	// RuleRequest is what the caller says: variable request.
	RuleRequest struct {
		Reference string            `cel:"reference"`
		Labels    map[string]string `cel:"labels"`
	}
	// RuleUser is whom the image runs as: variable user.
	RuleUser struct {
		UID    int64  `cel:"uid"` // -1 where it is not known
		GID    int64  `cel:"gid"` // 0 where it is not given
		Source string `cel:"source"`
	}
	// RuleBase is the base that was proven: variable base.
	RuleBase struct {
		Name      string `cel:"name"`
		Reference string `cel:"reference"`
		Evidence  string `cel:"evidence"`
		Layers    int64  `cel:"layers"`
		Signed    bool   `cel:"signed"`
		Current   bool   `cel:"current"`
	}
	// RuleScan is what scanning found: variable scan.
	RuleScan struct {
		State    string           `cel:"state"`
		Finished time.Time        `cel:"finished"` // year 1 where it is not known
		Findings []RuleFinding    `cel:"findings"`
		Counts   map[string]int64 `cel:"counts"`
		Secrets  []RuleSecret     `cel:"secrets"` // none being reported does not say that there are none
	}
	// RuleFinding is one vulnerability in one package.
	RuleFinding struct {
		ID           string `cel:"id"`
		Severity     string `cel:"severity"`
		Package      string `cel:"package"`
		PackageType  string `cel:"packageType"`
		Version      string `cel:"version"`
		FixedVersion string `cel:"fixedVersion"`
		Fixable      bool   `cel:"fixable"`
	}
	// RuleSecret is one secret that was reported.
	RuleSecret struct {
		Kind   string `cel:"kind"`
		Path   string `cel:"path"` // empty where it is not reported
		Status string `cel:"status"`
	}
	// RuleSBOM is what the bills of materials list: variable sbom. It needs spec.sbom.
	RuleSBOM struct {
		// of the documents by the policy's signer; none: there is no such document
		Formats  []string      `cel:"formats"`
		Packages []RulePackage `cel:"packages"` // of those documents
		Claims   []RulePackage `cel:"claims"`   // of all others: that a package is missing here says nothing
	}
	// RulePackage is one package of a bill of materials.
	RulePackage struct {
		Type     string   `cel:"type"` // of its package URL; empty where it has none
		Name     string   `cel:"name"`
		Version  string   `cel:"version"`
		Licenses []string `cel:"licenses"`
	}
	// RuleVEX is one statement of whether a vulnerability affects the image; variable vex lists those by whom the
	// policy names. It needs spec.vulnerabilities.vex. That there is none says nothing.
	RuleVEX struct {
		By            string    `cel:"by"`  // the project, or the name of the source in the policy
		IDs           []string  `cel:"ids"` // of the vulnerability, with its aliases
		Status        string    `cel:"status"`
		Justification string    `cel:"justification"`
		Exact         bool      `cel:"exact"` // it names this image by digest, or by its whole repository
		Time          time.Time `cel:"time"`  // year 1 where it is not said
	}
	// RuleProvenance is one verified statement; variable provenance lists them.
	RuleProvenance struct {
		Builder   string `cel:"builder"`
		SLSALevel int64  `cel:"slsaLevel"`
		Source    string `cel:"source"`
		Ref       string `cel:"ref"`
		Commit    string `cel:"commit"`
	}
)

// ruleVariables is the evidence as rules see it. Whatever may be absent is
// what makes an honest rule false: year 1, -1, the empty text.
func ruleVariables(ev *attestor.Evidence, e *attestor.PlatformEvidence, want *Provenance) map[string]any {
	c := e.Config
	subject := RuleSubject{
		Registry: ev.Image.Registry(), Repository: ev.Image.Repository(), Digest: string(e.Digest),
		Platform:  e.Platform,
		MediaType: ev.MediaType, Index: ev.Index, Size: c.Size, Layers: int64(len(e.Layers)),
		Uploaded: orYearOne(ev.Uploaded),
	}

	user := RuleUser{UID: -1, Source: string(e.User.Source)}
	if e.User.UID != nil {
		user.UID = *e.User.UID
	}
	if e.User.GID != nil {
		user.GID = *e.User.GID
	}

	scan := RuleScan{
		State:    string(e.Scan.State),
		Finished: orYearOne(e.Scan.Finished),
		Findings: make([]RuleFinding, len(e.Scan.Findings)),
		Counts:   map[string]int64{},
		Secrets:  make([]RuleSecret, len(e.Scan.Secrets)),
	}

	for i, s := range e.Scan.Secrets {
		scan.Secrets[i] = RuleSecret{Kind: s.Kind, Path: s.Path, Status: s.Status}
	}

	for i, v := range e.Scan.Findings {
		severity := v.Severity

		// Expressions compare with the severities of docs/rules.md: another word would slip past all of them.
		if !severity.Known() {
			severity = attestor.Unspecified
		}
		scan.Findings[i] = RuleFinding{
			ID:           v.ID,
			Severity:     string(severity),
			Package:      v.Package,
			PackageType:  v.PackageType,
			Version:      v.Version,
			FixedVersion: v.FixedVersion,
			Fixable:      v.Fixable,
		}
	}

	for s, n := range e.Scan.Counts() {
		scan.Counts[string(s)] = int64(n)
	}
	provenance := make([]RuleProvenance, len(e.Provenance))
	for i, p := range e.Provenance {
		// Builder and level are those that the policy accepts as proven, not what the statement claims.
		at := want.proven(&p)
		provenance[i] = RuleProvenance{
			Builder:   at.builder,
			SLSALevel: int64(at.level),
			Source:    p.SourceURI,
			Ref:       p.Ref,
			Commit:    p.Commit,
		}
	}

	return map[string]any{
		"subject": subject,
		"image": RuleImage{
			User:         c.User,
			Created:      orYearOne(c.Created),
			Labels:       orEmpty(c.Labels),
			Annotations:  orEmpty(c.Annotations),
			EnvNames:     slices.Clone(c.EnvNames),
			SecretEnv:    c.SecretEnv,
			Entrypoint:   c.Entrypoint,
			Cmd:          c.Cmd,
			ExposedPorts: c.ExposedPorts,
		},
		"request": RuleRequest{Reference: ev.Requested, Labels: orEmpty(ev.Labels)},
		"user":    user,
		"base": RuleBase{
			Name:      e.Base.Name,
			Reference: e.Base.Reference,
			Evidence:  string(e.Base.Evidence),
			Layers:    int64(e.Base.Layers),
			Signed:    e.Base.SignedBy != "",
			Current:   e.Base.Current,
		},
		"scan":       scan,
		"provenance": provenance,
		"time":       ev.Time,
	}
}

func orYearOne(t *time.Time) time.Time {
	if t == nil {
		return time.Time{}
	}
	return *t
}

func orEmpty(m map[string]string) map[string]string {
	if m == nil {
		return map[string]string{}
	}
	return m
}

// ruleSBOM is a platform's bills of materials as rules see them.
func (s *Spec) ruleSBOM(e *attestor.PlatformEvidence) (out RuleSBOM) {
	if s.SBOM == nil {
		return out
	}

	counting := s.SBOM.counting(e.SBOMs)
	for i := range e.SBOMs {
		doc := &e.SBOMs[i]

		// By default a claim: only the signer's documents are packages that a rule may rely on.
		list := &out.Claims
		if slices.Contains(counting, doc) {
			list = &out.Packages
			out.Formats = append(out.Formats, doc.Format)
		}
		for k := range doc.Packages {
			p := &doc.Packages[k]
			*list = append(*list, RulePackage{Type: p.Type, Name: p.Name, Version: p.Version, Licenses: p.Licenses})
		}
	}
	return out
}

// ruleVEX lists what the projects and the signers that the policy names say, as rules see it.
func (s *Spec) ruleVEX(e *attestor.PlatformEvidence) []RuleVEX {
	want := s.Vulnerabilities.VEX
	if want == nil {
		return nil
	}

	// The scanner fills in the same statement at each package of a vulnerability.
	out, seen := []RuleVEX{}, map[[2]string]map[attestor.VEX]bool{}
	for i := range e.Scan.Findings {
		v := &e.Scan.Findings[i]
		for _, x := range v.VEX {
			key := [2]string{v.ID, x.Project}
			if !slices.Contains(want.Projects, x.Project) || seen[key][x] {
				continue
			}
			if seen[key] == nil {
				seen[key] = map[attestor.VEX]bool{}
			}
			seen[key][x] = true
			out = append(out, RuleVEX{
				By: x.Project, IDs: []string{v.ID}, Status: x.Status, Justification: x.Justification, Exact: true,
			})
		}
	}

	// A statement counts as its source's only if that source's signer signed it.
	for i := range want.Sources {
		text := want.Sources[i].source().Text()
		for _, st := range e.VEX {
			if st.Source == text {
				out = append(out, RuleVEX{
					By: want.Sources[i].Name, IDs: st.IDs, Status: st.Status, Justification: st.Justification,
					Exact: st.Exact, Time: st.Time,
				})
			}
		}
	}
	return out
}
