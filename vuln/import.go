package vuln

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/timestamppb"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/resource"
	"github.com/attestor-gate/attestor/internal/strictjson"
)

const (
	maxReport         = 256 << 20 // bytes
	maxImportFindings = 100_000
	maxTextLength     = 2_000 // of any one text taken from a report
)

// A Target is the image that a report must be of.
type Target struct {
	Image attestor.Image // the manifest that was scanned; not an index
	Note  string         // projects/P/notes/N: the scanner's note, as a policy's scan.trusted names it

	// Platform of the manifest, os/architecture[/variant]. "" is not known: then only
	// linux/amd64 is accepted where the report does not name the manifest's own digest.
	Platform string

	// Layers reads the diffIDs of the image's config, lowest first. It is asked only about a report that does not name
	// the image's digest, as osv-scanner's and those of tarballs do not: such a report is of the image if it lists
	// these layers. nil: it is refused.
	Layers func() ([]attestor.Digest, error)

	// Index reports whether Image is an index all the same. It is asked only about a report of another platform than
	// linux/amd64 that does not name the manifest's own digest. nil: such a report is refused.
	Index func() (bool, error)
}

// Imported is a report as Container Analysis would have it.
type Imported struct {
	Scanner         string                     // name and version
	Target          Target                     //
	Coverage        Coverage                   // of the image
	Lacks           string                     // what is not covered, and why; "" if Coverage is Complete
	Database        *time.Time                 // when the scanner's database was made; nil if the report does not say
	Notes           map[string]*grafeaspb.Note // by name; one for each vulnerability, beside the scanner's
	Discovery       *grafeaspb.Occurrence      // the state of the scan, with the package types that it covered
	Vulnerabilities []*grafeaspb.Occurrence    // one for each vulnerability, with a package issue for each place
	Secrets         []*grafeaspb.Occurrence    // one for each place of a secret
}

// Import turns a scanner's report into occurrences: of Grype (-o json), Trivy
// (--format json) or osv-scanner (--format json). docs/scans.md has the mapping. A
// report is refused that names another image than the target, that lists no packages,
// or that is in none of these formats.
func Import(r io.Reader, t Target) (Imported, error) {
	note, ok := resource.ParseName("notes", t.Note)
	switch {
	case t.Image.IsZero():
		return Imported{}, invalid("no image was given to import a report for",
			"name it by its digest: --image REPOSITORY@DIGEST")
	case !ok || note.Location != "":
		return Imported{}, invalid(
			fmt.Sprintf("%q is not a note's name", clip(t.Note)),
			"name it as projects/PROJECT/notes/NAME",
		)
	}

	rep, err := readReport(r)
	if err != nil {
		return Imported{}, err
	}
	if err := rep.isOf(t); err != nil {
		return Imported{}, err
	}
	return rep.occurrences(t, note.Project)
}

func invalid(msg, fix string) error {
	return &attestor.Error{Kind: attestor.Invalid, Msg: msg, Fix: fix}
}

// A report is what the three kinds of report have in common.
type report struct {
	scanner     string
	made        *time.Time
	database    *time.Time        // when the vulnerabilities that it knew were collected; nil: not reported
	digests     []attestor.Digest // that it names as the image's, in any role
	manifest    attestor.Digest   // that it names as the manifest's own
	layers      []attestor.Digest // diffIDs, lowest first
	platform    string            // os/architecture
	types       []string          // package types that were looked for
	system      string            // CPE of the distribution; "" if it is not named
	osLack      string            // why the packages of the operating system are not covered; "": they are
	unsupported string            // why nothing in the report can be relied on
	found       []imported
	secrets     []leak // that it names
}

// An imported finding is one vulnerability in one package.
type imported struct {
	ids         []string // its names; each becomes a finding
	severity    grafeaspb.Severity
	score       float64
	published   *time.Time
	description string
	url         string
	epss        *grafeaspb.ExploitPredictionScoringSystem
	exploited   *grafeaspb.CISAKnownExploitedVulnerabilities

	name, version, kind string
	cpe                 string
	fixed               string // "": there is no fix
	places              []place
}

type place struct{ path, diffID string }

// readReport recognises a format by the keys that only it has.
func readReport(r io.Reader) (report, error) {
	// One byte more than is allowed shows that the report is longer.
	b, err := io.ReadAll(io.LimitReader(r, maxReport+1))
	if err != nil {
		return report{}, fmt.Errorf("reading the report: %w", err)
	}

	if len(b) > maxReport {
		return report{}, &attestor.Error{
			Kind: attestor.TooLarge,
			Msg:  fmt.Sprintf("the report is larger than %d MiB", maxReport>>20),
			Fix:  "scan and import one image at a time",
		}
	}

	// RFC 8259, 8.1: parsers "MAY ignore the presence of a byte order mark". PowerShell writes one before UTF-8.
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf"))

	var keys map[string]json.RawMessage
	if err := decode(b, &keys); err != nil {
		if e, ok := errors.AsType[*strictjson.Error](err); ok && e.Fault == strictjson.Duplicate {
			return report{}, invalid(
				"the report can be read in two ways: "+e.Error(), "scan again with a current version of the scanner",
			)
		}
		return report{}, notJSON(b)
	}

	if err := foreign(keys); err != nil {
		return report{}, err
	}

	has := func(k string) bool { return len(keys[k]) > 0 && !bytes.Equal(keys[k], []byte("null")) }
	var rep report
	switch {
	case has("matches") && has("descriptor"):
		rep, err = readGrype(b)
	case has("SchemaVersion") && has("ArtifactType"):
		rep, err = readTrivy(b)
	case has("results") && !has("SchemaVersion"):
		rep, err = readOSV(b)
	default:
		return report{}, invalid(
			"the report is in none of the supported formats",
			"have the scanner write JSON: "+commands,
		)
	}

	if err != nil {
		return report{}, err
	}
	if n := len(rep.found) + len(rep.secrets); n > maxImportFindings {
		return report{}, &attestor.Error{
			Kind: attestor.TooLarge,
			Msg:  fmt.Sprintf("the report has %d findings; %d can be imported", n, maxImportFindings),
			Fix:  "build the image on a smaller or newer base",
		}
	}
	return rep.finish()
}

// decode refuses a report with duplicate keys, invalid UTF-8 or text behind it, which a
// concatenation of two reports would have: it could hide a finding. Scanners add fields.
// The decoder is the one that scanners encode with, after whose rules they name fields.
func decode(b []byte, into any) error {
	if err := strictjson.Check(b, strictjson.Rules{Unknown: true, Null: true, Surrogates: true}); err != nil {
		return err
	}
	return json.Unmarshal(b, into)
}

func malformed(format string, err error) error {
	return &attestor.Error{
		Kind: attestor.Invalid,
		Msg:  fmt.Sprintf("the report looks like %s's, but cannot be read", format),
		Fix:  "scan again with a current version of the scanner",
		Err:  err,
	}
}

// marker is the text by which the occurrences of an import under a note are found
// again.
func marker(note string) string { return "imported by attestor under " + note }

// occurrences has one occurrence for each vulnerability, under a note of its own.
func (r report) occurrences(t Target, project string) (Imported, error) {
	uri := resource.URIs(t.Image)[0]
	out := Imported{Scanner: r.scanner, Target: t, Notes: map[string]*grafeaspb.Note{}}
	out.Notes[t.Note] = &grafeaspb.Note{
		ShortDescription: "Scans by " + r.scanner,
		Type: &grafeaspb.Note_Discovery{
			Discovery: &grafeaspb.DiscoveryNote{AnalysisKind: grafeaspb.NoteKind_VULNERABILITY},
		},
	}

	// One occurrence for each vulnerability, with a package issue for each place, is
	// the shape that Container Analysis's own scanner writes.
	byNote := map[string]*grafeaspb.Occurrence{}
	issues := map[string]*grafeaspb.VulnerabilityOccurrence_PackageIssue{}
	for _, f := range r.found {
		for _, id := range f.ids {
			name, err := noteName(project, id)
			if err != nil {
				return Imported{}, err
			}

			// A vulnerability must not turn the scanner's own note into that of a
			// finding.
			if name == t.Note {
				return Imported{}, invalid(
					fmt.Sprintf("the note %s has the name of a vulnerability in the report", t.Note),
					"give the scanner's note another name",
				)
			}

			f.addNote(out.Notes, name)
			o := byNote[name]
			if o == nil {
				o = f.occurrence(uri, name, t.Note)
				byNote[name] = o
			}
			f.addTo(o.GetVulnerability(), issues)
		}
	}

	// How severe a vulnerability is in all packages is known when the last one was added.
	for _, name := range slices.Sorted(maps.Keys(byNote)) {
		v := byNote[name].GetVulnerability()
		v.Severity = ofAll(v.GetPackageIssue())
		v.EffectiveSeverity = v.GetSeverity()
		out.Vulnerabilities = append(out.Vulnerabilities, byNote[name])
	}
	out.Coverage, out.Lacks = r.coverage()
	out.Database = r.database
	out.Discovery = r.discovery(uri, t.Note)
	return out, r.addSecrets(&out, uri)
}

// discovery says what was covered, in fields that Container Analysis keeps: a state, the
// types of packages, and for an unsupported image the reason as the status' error.
func (r report) discovery(uri, note string) *grafeaspb.Occurrence {
	d := &grafeaspb.DiscoveryOccurrence{
		AnalysisStatus:    grafeaspb.DiscoveryOccurrence_FINISHED_SUCCESS,
		AnalysisCompleted: &grafeaspb.DiscoveryOccurrence_AnalysisCompleted{AnalysisType: r.types},
		Cpe:               short(r.system),
	}
	if c, why := r.coverage(); c == Unsupported {
		d.AnalysisStatus = grafeaspb.DiscoveryOccurrence_FINISHED_UNSUPPORTED
		d.AnalysisStatusError = &status.Status{Code: int32(codes.Unimplemented), Message: short(why)}
	}

	if r.made != nil {
		d.LastScanTime = timestamppb.New(*r.made)
	}

	return &grafeaspb.Occurrence{
		ResourceUri: uri,
		NoteName:    note,
		Details:     &grafeaspb.Occurrence_Discovery{Discovery: d},
	}
}

var notInNotes = regexp.MustCompile(`[^A-Za-z0-9._-]+`)

// noteName makes an id the last segment of a note's name. Characters that a name
// cannot have, such as the colon of ALSA-2021:1234, become a hyphen.
func noteName(project, id string) (string, error) {
	clean := strings.Trim(notInNotes.ReplaceAllString(id, "-"), "-.")
	if clean == "" || len(clean) > 128 {
		return "", invalid(
			fmt.Sprintf("%q in the report is not a vulnerability's name", clip(id)),
			"scan again with a current version of the scanner",
		)
	}
	return "projects/" + project + "/notes/" + clean, nil
}

// addNote adds the facts of the vulnerability itself. The earliest publication counts,
// so that a second report of it extends no grace period.
func (f imported) addNote(notes map[string]*grafeaspb.Note, name string) {
	n := notes[name]
	if n == nil {
		n = &grafeaspb.Note{
			ShortDescription: name[strings.LastIndexByte(name, '/')+1:], LongDescription: short(f.description),
			Type: &grafeaspb.Note_Vulnerability{Vulnerability: &grafeaspb.VulnerabilityNote{}},
		}
		if f.url != "" {
			n.RelatedUrl = []*grafeaspb.RelatedUrl{{Url: short(f.url)}}
		}
		notes[name] = n
	}

	v := n.GetVulnerability()
	v.Severity = max(v.GetSeverity(), f.severity)
	v.CvssScore = max(v.GetCvssScore(), score(f.score))
	if f.published == nil {
		return
	}

	if old := timeOf(v.GetAdvisoryPublishTime()); old == nil || f.published.Before(*old) {
		v.AdvisoryPublishTime = timestamppb.New(*f.published)
	}
}

func (f imported) occurrence(uri, note, scanner string) *grafeaspb.Occurrence {
	v := &grafeaspb.VulnerabilityOccurrence{
		ShortDescription: note[strings.LastIndexByte(note, '/')+1:],
		ExtraDetails:     marker(scanner),
	}
	return &grafeaspb.Occurrence{
		ResourceUri: uri,
		NoteName:    note,
		Details:     &grafeaspb.Occurrence_Vulnerability{Vulnerability: v},
	}
}

// addTo adds the affected package, and keeps the facts that the occurrence gives for
// all packages. issues are those of the report so far.
func (f imported) addTo(
	v *grafeaspb.VulnerabilityOccurrence,
	issues map[string]*grafeaspb.VulnerabilityOccurrence_PackageIssue,
) {
	cpe := cmp.Or(f.cpe, fmt.Sprintf("cpe:/a:%s:%s", f.name, f.version))
	p := &grafeaspb.VulnerabilityOccurrence_PackageIssue{
		AffectedCpeUri: short(cpe), AffectedPackage: short(f.name), AffectedVersion: plainVersion(f.version),
		FixedCpeUri: short(cpe), FixedPackage: short(f.name), FixedVersion: plainVersion(f.fixed),
		FixAvailable: f.fixed != "", PackageType: f.kind, EffectiveSeverity: f.severity,
	}
	if f.fixed == "" {
		p.FixedVersion = &grafeaspb.Version{Kind: grafeaspb.Version_MAXIMUM}
	}

	for _, at := range f.places {
		l := &grafeaspb.FileLocation{FilePath: short(at.path)}
		if at.diffID != "" {
			l.LayerDetails = &grafeaspb.LayerDetails{DiffId: at.diffID}
		}
		p.FileLocation = append(p.FileLocation, l)
	}

	// One vulnerability under two names, which a scanner may rate differently, is the
	// same issue at the more severe rating.
	rated := p.EffectiveSeverity
	p.EffectiveSeverity = 0
	key := v.GetShortDescription() + "\n" + mark(p)
	if same := issues[key]; same != nil {
		same.EffectiveSeverity = max(same.EffectiveSeverity, rated)
	} else {
		p.EffectiveSeverity, issues[key] = rated, p
		v.PackageIssue = append(v.PackageIssue, p)
	}

	v.CvssScore = max(v.GetCvssScore(), score(f.score))
	v.FixAvailable = v.GetFixAvailable() || p.GetFixAvailable()
	f.addRisk(v)
}

// ofAll is the highest severity of packages; none if one of them has none. Readers take the occurrence's severity for a
// package without its own: that of another package would say how bad a finding is that nobody rated.
func ofAll(issues []*grafeaspb.VulnerabilityOccurrence_PackageIssue) grafeaspb.Severity {
	highest := grafeaspb.Severity_SEVERITY_UNSPECIFIED
	for _, p := range issues {
		if p.GetEffectiveSeverity() == grafeaspb.Severity_SEVERITY_UNSPECIFIED {
			return grafeaspb.Severity_SEVERITY_UNSPECIFIED
		}
		highest = max(highest, p.GetEffectiveSeverity())
	}
	return highest
}

// addRisk keeps the highest risk, and adds none where the scanner reports none.
func (f imported) addRisk(v *grafeaspb.VulnerabilityOccurrence) {
	if f.epss == nil && f.exploited == nil {
		return
	}
	if v.Risk == nil {
		v.Risk = &grafeaspb.Risk{}
	}

	if f.epss != nil && f.epss.GetScore() >= v.Risk.GetEpss().GetScore() {
		v.Risk.Epss = f.epss
	}
	if f.exploited != nil {
		v.Risk.CisaKev = f.exploited
	}
}

func plainVersion(s string) *grafeaspb.Version {
	return &grafeaspb.Version{Kind: grafeaspb.Version_NORMAL, Name: short(s), FullName: short(s)}
}

func score(f float64) float32 {
	// CVSS scores are 0.0 to 10.0; anything else counts as "no score given".
	if math.IsNaN(f) || f < 0 || f > 10 {
		return 0
	}
	return float32(f)
}

// short bounds the texts that a report can have stored, and ends at a whole rune.
func short(s string) string {
	if len(s) > maxTextLength {
		s = s[:maxTextLength]
	}
	return strings.ToValidUTF8(s, "")
}
