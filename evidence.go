package attestor

import (
	"strings"
	"time"
)

// Evidence is all that is known of an image when it is judged: facts and
// failures to find facts, no opinions. It is recorded whole, so that another
// policy can judge it later.
type Evidence struct {
	Time      time.Time          `json:"time"` // when it was gathered; the only clock a policy has
	Image     Image              `json:"image"`
	Requested string             `json:"requested"`
	MediaType string             `json:"mediaType"`
	Index     bool               `json:"index"`
	Platforms []PlatformEvidence `json:"platforms"` // the children to be judged, in the index's order; one for an image
	Left      []Child            `json:"left,omitempty"`
	Labels    map[string]string  `json:"labels,omitempty"`   // the caller's, not the image's
	Uploaded  *time.Time         `json:"uploaded,omitempty"` // Artifact Registry's own time; nil: not asked for, or not known
	Problems  []Problem          `json:"problems,omitempty"` // of the image as a whole
}

// A Child is one runnable manifest of an index.
type Child struct {
	Platform string `json:"platform"` // os/architecture[/variant]
	Digest   Digest `json:"digest"`
}

// A Problem is something found, or something that could not be found out,
// while gathering: no policy setting makes it acceptable by itself. Status is
// Deny or Error; anything else is read as Error.
type Problem struct {
	Check  string `json:"check"` // the check that it belongs to
	Status Status `json:"status"`
	Reason
}

// PlatformEvidence is what is known of one runnable manifest.
type PlatformEvidence struct {
	Child
	Config     ImageConfig    `json:"config"`
	Layers     []Layer        `json:"layers,omitempty"`
	User       User           `json:"user"`
	Base       Base           `json:"base"`
	System     *System        `json:"system,omitempty"` // the image's own word; nil: not read, or not said
	Scan       Scan           `json:"scan"`
	Provenance []Provenance   `json:"provenance,omitempty"`
	SBOMs      []SBOM         `json:"sboms,omitempty"`
	NotRead    []Reason       `json:"sbomsNotRead,omitempty"` // documents that may be SBOMs of the image and do not count, and why
	VEX        []VEXStatement `json:"vex,omitempty"`          // of signed documents, whatever findings they are about
	Problems   []Problem      `json:"problems,omitempty"`
}

// ImageConfig holds what the image's author says of it in its config: claims,
// bounded in size. Environment values are left out, since they may be secret.
type ImageConfig struct {
	User         string            `json:"user"`
	Created      *time.Time        `json:"created,omitempty"`
	Labels       map[string]string `json:"labels,omitempty"`
	Annotations  map[string]string `json:"annotations,omitempty"` // the manifest's
	EnvNames     []string          `json:"envNames,omitempty"`
	SecretEnv    []string          `json:"secretEnv,omitempty"` // names whose values look like secrets
	Entrypoint   []string          `json:"entrypoint,omitempty"`
	Cmd          []string          `json:"cmd,omitempty"`
	ExposedPorts []string          `json:"exposedPorts,omitempty"`
	Size         int64             `json:"size"`              // bytes: compressed layers and config
	Clipped      []string          `json:"clipped,omitempty"` // the fields above, by JSON name, of which a part was left out
}

// A Layer is one layer as the manifest and the config describe it, lowest
// first in [PlatformEvidence.Layers].
type Layer struct {
	Digest Digest `json:"digest"`
	DiffID Digest `json:"diffId"` // the config's claim, unless the base's evidence says that it was verified
	Size   int64  `json:"size"`   // compressed bytes
}

// UserSource says how a user was decided.
type UserSource string

// The sources of a uid.
const (
	UserFromConfig UserSource = "config" // numeric in the config
	UserFromPasswd UserSource = "passwd" // a name, looked up in the image's own /etc/passwd
)

// User is whom the image runs as by its config. The zero value is unreadable,
// not root and not non-root: UID is nil.
type User struct {
	Configured string     `json:"configured"`
	UID        *int64     `json:"uid"`
	GID        *int64     `json:"gid"` // what the config does not give counts as 0
	Source     UserSource `json:"source,omitempty"`
}

// A Level is how well an image's base is proven. The zero value proves
// nothing.
type Level string

// The levels, strongest first. A claim (diffIDs unverified, annotations,
// labels, unsigned provenance) is no level at all.
const (
	LayersExact     Level = "layers-exact"
	DiffIDsVerified Level = "diffids-verified"
	Attested        Level = "attested"
)

// Satisfies reports whether evidence of level l is at least as strong as want.
func (l Level) Satisfies(want Level) bool {
	return l.rank() > 0 && want.rank() > 0 && l.rank() >= want.rank()
}

func (l Level) rank() int {
	switch l {
	case LayersExact:
		return 3
	case DiffIDsVerified:
		return 2
	case Attested:
		return 1
	}
	return 0
}

// Base is the approved base that an image was proven to be built on. The zero
// value is none.
type Base struct {
	Name       string     `json:"name"`                 // of the policy's entry
	Reference  string     `json:"reference"`            // repository@digest of the base: its index where the pairing is proven, else its manifest
	Digest     Digest     `json:"digest"`               // the base's manifest for this platform
	Evidence   Level      `json:"evidence"`             // "" where nothing was proven
	Layers     int        `json:"layers"`               // how many of the image's lowest layers are the base's
	SignedBy   string     `json:"signedBy,omitempty"`   // the [SignedBy.Text] of the rule that a signature satisfied
	Signer     string     `json:"signer,omitempty"`     // who that is, for people
	Listed     bool       `json:"listed,omitempty"`     // its digest stands in the policy
	Current    bool       `json:"current"`              // a tag of the entry names it now
	Superseded *time.Time `json:"superseded,omitempty"` // the earliest time that the last of its tags can have moved on; nil: never seen to move
	AgeUnknown string     `json:"ageUnknown,omitempty"` // why that is not known of a base that no tag was seen to name, for messages
	Newest     Digest     `json:"newest,omitempty"`     // what the entry's first tag names now
	Hints      []string   `json:"hints,omitempty"`      // what the author claims, for messages only
}

// ScanState is where a scan stands. The zero value is not known, which is an
// error.
type ScanState string

// The states. Only ScanComplete can pass.
const (
	ScanNotFound    ScanState = "not-found"
	ScanPending     ScanState = "pending"
	ScanRunning     ScanState = "scanning"
	ScanComplete    ScanState = "complete"
	ScanFailed      ScanState = "failed"
	ScanUnsupported ScanState = "unsupported"
	ScanUnavailable ScanState = "unavailable" // the scanner could not be asked; Problem says why
)

// Scan is what vulnerability scanning knows of one manifest.
type Scan struct {
	State      ScanState       `json:"state"`
	Scanner    *ScannerInfo    `json:"scanner,omitempty"`    // that was asked; nil in records of versions that did not name it, see [Scan.By]
	Problem    *Reason         `json:"problem,omitempty"`    // set with ScanUnavailable and ScanFailed
	Note       string          `json:"note,omitempty"`       // the note of the discovery that counted
	Resource   string          `json:"resource,omitempty"`   // the resource URI it was found under
	ByIndex    bool            `json:"byIndex,omitempty"`    // found on the index's digest, which is the first linux/amd64 child's scan
	Finished   *time.Time      `json:"finished,omitempty"`   // lastScanTime, or where absent the discovery's update time
	Continuous string          `json:"continuous,omitempty"` // ACTIVE, INACTIVE or nothing
	Archived   *time.Time      `json:"archived,omitempty"`
	Analyses   []string        `json:"analyses,omitempty"` // analysis types that completed, such as OS and GO
	System     *System         `json:"system,omitempty"`   // that was scanned; nil: not reported
	Findings   []Vulnerability `json:"findings,omitempty"` // per affected package, sorted, duplicates merged

	// Secrets are those that are reported. None says nothing by itself: no field of any report says that the files were
	// searched. SecretsListed is true where the scanner was asked for them; records of versions that did not ask have
	// false.
	Secrets       []Secret `json:"secrets,omitempty"`
	SecretsListed bool     `json:"secretsListed,omitempty"`

	// Unread are occurrences about the image that this version cannot judge, sorted by kind. KindsUnlisted is true
	// where the service would not list kinds that this version does not know.
	Unread        []UnreadKind `json:"unread,omitempty"`
	KindsUnlisted bool         `json:"kindsUnlisted,omitempty"`
}

// A ScannerInfo is a scanner's description of itself: what messages call it, and which results are its own. The package
// that asks the scanner writes it; nothing of it comes from a registry or from what the scanner stored.
type ScannerInfo struct {
	Name     string `json:"name"`               // as its documentation calls it
	Note     string `json:"note,omitempty"`     // projects/P/notes/N, to which nobody else can attach results; "" for none
	Platform string `json:"platform,omitempty"` // of an index, it scans the first child for this platform only; "" for every child
	Enable   string `json:"enable,omitempty"`   // advice: how an image comes to be scanned, in the imperative
	Refresh  string `json:"refresh,omitempty"`  // advice: how a scan that is out of date is made again, ditto, with the image to follow
}

// Owns reports whether a note, with or without a location, is the scanner's own. Whoever could attach results to any
// other note would be believed, so that the project and the note must both be the scanner's.
func (s ScannerInfo) Owns(note string) bool {
	project, id, ok := strings.Cut(strings.TrimPrefix(s.Note, "projects/"), "/notes/")
	if !ok || !strings.HasPrefix(s.Note, "projects/") || project == "" || id == "" ||
		strings.Contains(project+id, "/") {
		return false
	}

	// What is left between the project and the note is "/notes/", or a location before it.
	between, hasPrefix := strings.CutPrefix(note, "projects/"+project)
	between, hasSuffix := strings.CutSuffix(between, id)
	if !hasPrefix || !hasSuffix {
		return false
	}
	location, ok := strings.CutSuffix(between, "/notes/")
	if location == "" {
		return ok
	}
	location, located := strings.CutPrefix(location, "/locations/")
	return ok && located && location != "" && !strings.Contains(location, "/")
}

// By describes the scanner that was asked. Versions that did not name it knew one only, Container Analysis, so that
// their records are judged as they were then.
func (s Scan) By() ScannerInfo {
	if s.Scanner != nil {
		return *s.Scanner
	}
	return ScannerInfo{
		Name: "Container Analysis", Note: "projects/goog-analysis/notes/PACKAGE_VULNERABILITY",
		Platform: scannedOfIndex,
	}
}

// Counts tallies findings by severity; every level has an entry.
func (s Scan) Counts() map[Severity]int {
	counts := map[Severity]int{}
	for _, level := range Severities() {
		counts[level] = 0
	}
	for _, v := range s.Findings {
		if v.Severity.Known() {
			counts[v.Severity]++
		} else {
			counts[Unspecified]++
		}
	}
	return counts
}

// A Vulnerability is one finding in one affected package.
type Vulnerability struct {
	ID             string     `json:"id"` // the note's last segment: CVE-…, GHSA-…, …
	Note           string     `json:"note"`
	Severity       Severity   `json:"severity"`            // effective, of the package; falls back to the occurrence's
	Fallback       string     `json:"fallback,omitempty"`  // where the severity came from, if not the package's own
	Malicious      bool       `json:"malicious,omitempty"` // the package is malware, see [Vulnerability.IsMalicious]
	Package        string     `json:"package"`
	PackageType    string     `json:"packageType,omitempty"` // OS, GO, NPM, …
	Version        string     `json:"version"`
	FixedVersion   string     `json:"fixedVersion,omitempty"`
	Fixable        bool       `json:"fixable"` // of this package
	CVSS           *float64   `json:"cvss,omitempty"`
	EPSS           *float64   `json:"epss,omitempty"`           // probability 0..1; nil: not reported
	KnownExploited *bool      `json:"knownExploited,omitempty"` // nil: not reported
	DiffIDs        []Digest   `json:"diffIds,omitempty"`        // layers it was found in; none: not reported
	Path           string     `json:"path,omitempty"`
	Published      *time.Time `json:"published,omitempty"` // the advisory; nil: not known, and so no grace
	VEX            []VEX      `json:"vex,omitempty"`
}

// IsMalicious reports whether the finding says that the package is malware, and not that it has a vulnerability.
// Records of versions that did not tell them apart have the id alone to go by.
func (v *Vulnerability) IsMalicious() bool { return v.Malicious || MaliciousID(v.ID) }

// MaliciousID reports whether an advisory is one of the OpenSSF Malicious Packages repository, whose ids in OSV's form
// are MAL-YYYY-N. Whoever wrote it in another case means the same: a finding can only make the verdict worse.
func MaliciousID(id string) bool {
	const prefix = "MAL-"
	if len(id) <= len(prefix) || !strings.EqualFold(id[:len(prefix)], prefix) {
		return false
	}
	return id[len(prefix)] >= '0' && id[len(prefix)] <= '9'
}

// VEX is somebody's statement that a vulnerability does or does not affect
// the image. It counts only where the policy trusts the project of its note.
type VEX struct {
	Status        string `json:"status"` // affected, not_affected, fixed, under_investigation
	Project       string `json:"project"`
	Note          string `json:"note"`
	Justification string `json:"justification,omitempty"`
}

// Provenance is one verified statement of how the image was built: it is
// parsed from signed bytes, and only what verified is here.
type Provenance struct {
	Source        string            `json:"source"` // cloud-build or cosign
	Builder       string            `json:"builder"`
	SLSALevel     int               `json:"slsaLevel"`
	SourceURI     string            `json:"sourceUri,omitempty"`
	Ref           string            `json:"ref,omitempty"`
	Commit        string            `json:"commit,omitempty"`
	PredicateType string            `json:"predicateType"`
	KeyID         string            `json:"keyId,omitempty"`
	Workflow      *Workflow         `json:"workflow,omitempty"`  // that signed it; nil: not a CI workflow's certificate
	Materials     map[string]Digest `json:"materials,omitempty"` // image repositories and their digests, for base evidence "attested"
	Summary       *StageSummary     `json:"summary,omitempty"`   // of the source [ProvenanceFromSummary] only; such an entry says nothing else
	Statement     Digest            `json:"statement,omitempty"` // of the bytes that were signed; "" in records of versions that did not keep it
}

// ProvenanceFromSummary is the source of an entry that is no statement of a build, but the verification summary of an
// earlier stage.
const ProvenanceFromSummary = "vsa"

// A StageSummary is what the verification summary of an earlier stage says: a SLSA VSA about this digest, by the signer
// that the policy names. Whether its verifier, resource and result will do is the policy's to say.
type StageSummary struct {
	SignedBy string    `json:"signedBy"` // the [SignedBy.Text] of the rule that its signature satisfied
	Verifier string    `json:"verifier"`
	Policy   string    `json:"policy"`   // its URI
	Resource string    `json:"resource"` // its resourceUri
	Result   string    `json:"result"`
	Levels   []string  `json:"levels"`
	Time     time.Time `json:"time,omitzero"` // its timeVerified
}
