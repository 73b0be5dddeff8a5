package policy_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/policy"
)

func problem(check string, status attestor.Status, code attestor.Code) attestor.Problem {
	return attestor.Problem{Check: check, Status: status, Reason: attestor.Reason{Code: code, Message: "m", Fix: "f"}}
}

// TestOneFaultIsSaidOnce: what a problem of the evidence explains is not refused a
// second time in other words, and what it does not explain is refused all the same.
func TestOneFaultIsSaidOnce(t *testing.T) {
	withProblems := func(list ...attestor.Problem) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) { e.Problems = list })
	}
	user := func(configured string, uid, gid *int64, source attestor.UserSource) func(*attestor.Evidence) {
		return on(func(e *attestor.PlatformEvidence) {
			e.User = attestor.User{Configured: configured, UID: uid, GID: gid, Source: source}
		})
	}
	number := func(n int64) *int64 { return &n }
	codes := func(list ...attestor.Code) []attestor.Code { return list }

	tests := []struct {
		name   string
		lines  []string
		check  string
		change func(*attestor.Evidence)
		want   []attestor.Code // of the check's reasons, in order
	}{
		{"an unsigned base", nil, attestor.CheckBase,
			changes(withProblems(problem(attestor.CheckBase, attestor.StatusDeny, attestor.CodeBaseUnsigned)),
				on(func(e *attestor.PlatformEvidence) { e.Base.SignedBy = "" })), codes("BASE_UNSIGNED")},
		{"a signature that could not be checked", nil, attestor.CheckBase, changes(
			withProblems(problem(attestor.CheckBase, attestor.StatusError, attestor.CodeBaseSignatureUnknown)),
			on(func(e *attestor.PlatformEvidence) { e.Base.SignedBy = "" })), codes("BASE_SIGNATURE_UNKNOWN")},
		{"another problem of the base", nil, attestor.CheckBase,
			changes(withProblems(problem(attestor.CheckBase, attestor.StatusDeny, attestor.CodeLayersMismatch)),
				on(func(e *attestor.PlatformEvidence) { e.Base.SignedBy = "" })),
			codes("LAYERS_MISMATCH", "BASE_UNSIGNED")},

		{"a base that need not be signed yet, and whose layers are wrong",
			[]string{"      - {name: static, repository: registry.example/base/static, tags: [latest], signedBy: " +
				"{key: /keys/base.pub}, " + from + "}"}, attestor.CheckBase, withProblems(problem(attestor.CheckBase,
				attestor.StatusDeny, attestor.CodeLayersMismatch)), codes("LAYERS_MISMATCH")},
		{"a base that is asked for until a date", []string{"    required: {value: false, until: true, " + from + "}"},
			attestor.CheckBase, on(func(e *attestor.PlatformEvidence) { e.Base = attestor.Base{} }),
			codes("BASE_NOT_APPROVED")},

		{"an upload time, beside another check's problem", nil, attestor.CheckScope, func(ev *attestor.Evidence) {
			ev.Uploaded, ev.Image = nil, parseImage(t, "registry.example/acme/other/api")
			ev.Platforms[0].Digest = ev.Image.Digest()
			ev.Problems = []attestor.Problem{problem(attestor.CheckBase, attestor.StatusError, attestor.CodeBaseUnresolved)}
		}, codes("OUT_OF_SCOPE", "UPLOAD_TIME_UNKNOWN")},
		{"an upload time that could not be read", nil, attestor.CheckScope, func(ev *attestor.Evidence) {
			ev.Uploaded = nil
			ev.Problems = []attestor.Problem{problem(attestor.CheckScope, attestor.StatusError, attestor.CodeUploadTimeUnknown)}
		}, codes("UPLOAD_TIME_UNKNOWN")},
		{"an upload that is to come", nil, attestor.CheckScope, func(ev *attestor.Evidence) {
			ev.Uploaded = new(ev.Time.Add(time.Minute + time.Second))
		}, codes("UPLOAD_TIME_UNKNOWN")},
		{"an upload just now, by a clock that is a little fast", nil, attestor.CheckScope, func(ev *attestor.Evidence) {
			ev.Uploaded = new(ev.Time.Add(time.Minute))
		}, codes()},

		{"a user that is not known has no group", []string{"  user: {nonRoot: true, rootGroup: deny}"},
			attestor.CheckUser, user("app", nil, nil, attestor.UserFromConfig), codes("USER_LOOKUP_FAILED")},
		{"a low uid, beside a problem that contradicts it",
			[]string{"  user: {nonRoot: true, minimumUID: 100}"}, attestor.CheckUser,
			changes(withProblems(problem(attestor.CheckUser, attestor.StatusDeny, attestor.CodeUserRoot)),
				user("5:5", number(5), number(5), attestor.UserFromConfig)), codes("USER_ROOT", "USER_TOO_LOW")},
		{"root, which a problem explains", nil, attestor.CheckUser,
			changes(withProblems(problem(attestor.CheckUser, attestor.StatusDeny, attestor.CodeUserRootDisguised)),
				user("00:5", number(0), number(5), attestor.UserFromConfig)), codes("USER_ROOT_DISGUISED")},
		{"a uid without a user", nil, attestor.CheckUser, user("", number(7), number(7), attestor.UserFromConfig), codes("USER_NOT_NUMERIC")},
		{"a name, which a problem explains", nil, attestor.CheckUser,
			changes(withProblems(problem(attestor.CheckUser, attestor.StatusDeny, attestor.CodeUserNotNumeric)),
				user("app:5", number(7), number(5), attestor.UserFromPasswd)), codes("USER_NOT_NUMERIC")},
		{"a name, beside another problem", nil, attestor.CheckUser,
			changes(withProblems(problem(attestor.CheckUser, attestor.StatusDeny, attestor.CodeLayersMismatch)),
				user("app:5", number(7), number(5), attestor.UserFromPasswd)),
			codes("LAYERS_MISMATCH", "USER_NOT_NUMERIC")},
		{"a group that is known, beside further ones that are not", nil, attestor.CheckUser,
			changes(withProblems(problem(attestor.CheckUser, attestor.StatusError, attestor.CodeGroupUnresolved)),
				user("7:7", number(7), number(7), attestor.UserFromConfig)), codes("GROUP_UNRESOLVED")},
		{"a group that USER does not give", nil, attestor.CheckUser,
			changes(withProblems(problem(attestor.CheckUser, attestor.StatusError, attestor.CodeGroupUnresolved)),
				user("7", number(7), nil, attestor.UserFromConfig)), codes("GROUP_ROOT")},
		{"a group that could not be found",
			[]string{"  user: {nonRoot: true, names: resolve, rootGroup: deny}"}, attestor.CheckUser,
			changes(withProblems(problem(attestor.CheckUser, attestor.StatusError, attestor.CodeGroupUnresolved)),
				user("7:app", number(7), nil, attestor.UserFromConfig)), codes("GROUP_UNRESOLVED")},
		{"a severity of a later version, where no finding is allowed", []string{
			"    maximumFixableSeverity: BLOCK_ALL", "  unknownFindings: ignore"}, attestor.CheckVulnerabilities,
			findings(vulnerability("CVE-1-1", func(v *attestor.Vulnerability) { v.Severity = "IMPORTANT" })),
			codes("FIXABLE_SEVERITY_EXCEEDED", "SHORTEST_WAY")},
		{"a secret that is not judged, by a scanner that was not asked", nil, attestor.CheckSecrets, on(func(e *attestor.PlatformEvidence) {
			e.Scan.SecretsListed, e.Scan.Secrets = false, []attestor.Secret{{Kind: "K", Path: "/a", Status: attestor.SecretInvalid}}
		}), codes("SECRET_FOUND")},
		{"secrets that could not be read", nil, attestor.CheckSecrets,
			changes(withProblems(problem(attestor.CheckSecrets, attestor.StatusError, attestor.CodeScanUnavailable)),
				on(func(e *attestor.PlatformEvidence) { e.Scan.SecretsListed = false })), codes("SCAN_UNAVAILABLE")},
		{"a denial with no finding", nil, attestor.CheckVulnerabilities,
			withProblems(problem(attestor.CheckVulnerabilities, attestor.StatusDeny, attestor.CodeLayersMismatch)),
			codes("LAYERS_MISMATCH")},
		{"a note that is no name", nil, attestor.CheckVulnerabilities,
			on(func(e *attestor.PlatformEvidence) { e.Scan.Note = "projects" }), codes("SCAN_NOT_TRUSTED")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := with(t, tt.lines...)
			var got []attestor.Code
			for _, r := range check(t, p.Judge(passing(p, tt.change)), tt.check).Reasons {
				got = append(got, r.Code)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestWhatReasonsSay: the words that tell one cause from another.
func TestWhatReasonsSay(t *testing.T) {
	number := func(n int64) *int64 { return &n }
	high := func(v *attestor.Vulnerability) { v.Severity = attestor.High }
	critical := func(v *attestor.Vulnerability) { v.Severity = attestor.Critical }
	malware := func(v *attestor.Vulnerability) { v.Package, v.Version = "evil", "1" }
	published := today().Add(-time.Hour)
	tests := []struct {
		name   string
		lines  []string
		check  string
		change func(*attestor.Evidence)
		says   string // in a message or a fix
		not    string // in none
	}{
		{"the first base is advised", nil, attestor.CheckBase,
			on(func(e *attestor.PlatformEvidence) { e.Base = attestor.Base{} }),
			"build FROM registry.example/base/static:latest", "build FROM registry.example/base/java"},
		{"a claim of the image's author", nil, attestor.CheckBase, on(func(e *attestor.PlatformEvidence) {
			e.Base = attestor.Base{Hints: []string{"debian:12"}}
		}), "the image's author claims debian:12", ""},
		{"no severity", nil, attestor.CheckVulnerabilities, findings(vulnerability("CVE-1-1",
			func(v *attestor.Vulnerability) { v.Severity = "" })), "UNSPECIFIED in openssl", ""},
		{"a base that was superseded", []string{"      - {name: static, repository: registry.example/base/static, " +
			"tags: [latest]}"}, attestor.CheckBase, on(func(e *attestor.PlatformEvidence) {
			e.Base.Current, e.Base.Superseded = false, new(today().Add(-48*time.Hour))
		}), "was superseded 2 days ago", "no older one is allowed"},
		{"a base that was superseded, by a clock that is wrong",
			[]string{"      - {name: static, repository: registry.example/base/static, tags: [latest]}"},
			attestor.CheckBase, on(func(e *attestor.PlatformEvidence) {
				e.Base.Current, e.Base.Superseded = false, new(today().Add(time.Hour))
			}), "was superseded 0 ago", "in the future"},
		{"a group by number", nil, attestor.CheckUser, on(func(e *attestor.PlatformEvidence) {
			e.User = attestor.User{Configured: "7:0", UID: number(7), GID: number(0), Source: attestor.UserFromConfig}
		}), `user "7:0" runs with group 0`, "/etc/"},
		{"a group by passwd", []string{"  user: {nonRoot: true, names: resolve}"}, attestor.CheckUser, on(func(e *attestor.PlatformEvidence) {
			e.User = attestor.User{Configured: "app", UID: number(7), GID: number(0), Source: attestor.UserFromPasswd}
		}), "which is its group in the image's /etc/passwd", "USER gives no group"},
		{"a grace period", []string{"    gracePeriod: {HIGH: 2d}"}, attestor.CheckVulnerabilities,
			findings(vulnerability("CVE-1-1", high, func(v *attestor.Vulnerability) { v.Published = &published })),
			"accepted until 2026-11-22", ""},
		{"no grace at all", []string{"    gracePeriod: {HIGH: 0d}"}, attestor.CheckVulnerabilities,
			findings(vulnerability("CVE-1-1", high, func(v *attestor.Vulnerability) { v.Published = &published })),
			"limit for fixable is MEDIUM", "accepted until"},
		{"how many findings are judged", nil, attestor.CheckVulnerabilities, findings(vulnerability("MAL-2025-1",
			malware), vulnerability("CVE-1-1", func(v *attestor.Vulnerability) { v.KnownExploited = nil })),
			"whether they are exploited: 1 of 2 findings", ""},
		{"a secret of the base", nil, attestor.CheckSecrets, on(func(e *attestor.PlatformEvidence) {
			e.Scan.Secrets = []attestor.Secret{{Kind: "K", Path: "/a", Status: attestor.SecretValid, DiffID: e.Layers[0].DiffID}}
		}), "a secret of kind K lies in /a (from the base); it is valid", ""},
		{"a secret of the image's own", nil, attestor.CheckSecrets, on(func(e *attestor.PlatformEvidence) {
			e.Scan.Secrets = []attestor.Secret{{Kind: "K", Path: "/a", Status: attestor.SecretUnknown, DiffID: e.Layers[1].DiffID}}
		}), "whether it is valid is not known", "from the base"},
		{"a secret that is invalid, and judged", []string{"  secrets: {found: deny, statuses: [INVALID]}"},
			attestor.CheckSecrets, on(func(e *attestor.PlatformEvidence) {
				e.Scan.Secrets = []attestor.Secret{{Kind: "K", Path: "/a", Status: attestor.SecretInvalid}}
			}), "it is known to be invalid", "whether"},
		{"a secret of a status of a later version", nil, attestor.CheckSecrets, on(func(e *attestor.PlatformEvidence) {
			e.Scan.Secrets = []attestor.Secret{{Kind: "K", Path: "/a", Status: "STATUS_9"}}
		}), "with the status STATUS_9, which this version does not know", ""},
		{"malware alone", nil, attestor.CheckVulnerabilities, findings(vulnerability("MAL-2025-1", malware)),
			"1 finding in all; the shortest way to a pass: remove 1 malicious package (evil)", ""},
		{"malware that is blocked by name", []string{"    blockedCves: [MAL-2025-1]"}, attestor.CheckVulnerabilities,
			findings(vulnerability("MAL-2025-1", malware)), "the policy blocks it by name", "is a malicious package"},
		{"what only warns is not in the way", []string{"    gracePeriod: {HIGH: 2d}"}, attestor.CheckVulnerabilities,
			findings(vulnerability("CVE-1-1", critical), vulnerability("CVE-1-2", high,
				func(v *attestor.Vulnerability) { v.Published, v.Package = &published, "curl" })),
			"1 finding in all; the shortest way to a pass: update 1 package", "curl)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := with(t, tt.lines...)
			var all []string
			for _, r := range check(t, p.Judge(passing(p, tt.change)), tt.check).Reasons {
				all = append(all, r.Message+"; "+r.Fix)
			}
			text := strings.Join(all, "\n")
			if !strings.Contains(text, tt.says) || tt.not != "" && strings.Contains(text, tt.not) {
				t.Errorf("%q is not said, or %q is:\n%s", tt.says, tt.not, text)
			}
		})
	}
}

// TestRebaseAdvice: a base is advised only if it is another than the image has.
func TestRebaseAdvice(t *testing.T) {
	other := attestor.Digest("sha256:" + strings.Repeat("e", 64))
	tests := []struct {
		name   string
		change func(*attestor.Base)
		want   string
	}{
		{"a newer one", func(b *attestor.Base) { b.Newest = other }, "FROM registry.example/base/static@" + string(other)},
		{"none is known", func(b *attestor.Base) { b.Newest = "" }, "wait for the next version"},
		{"the image's own, by its index", func(b *attestor.Base) {
			b.Newest, b.Reference = other,
				"registry.example/base/static@"+string(other)
		}, "wait for the next version"},
		{"the image's own, by its manifest", func(b *attestor.Base) { b.Newest, b.Digest = other, other }, "wait for the next version"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := with(t)
			ev := passing(p, on(func(e *attestor.PlatformEvidence) {
				e.Base.Layers = 1
				e.Scan.Findings = []attestor.Vulnerability{vulnerability("CVE-1-1", func(v *attestor.Vulnerability) {
					v.Severity, v.DiffIDs = attestor.Critical, []attestor.Digest{e.Layers[0].DiffID}
				})}
				tt.change(&e.Base)
			}))
			c := check(t, p.Judge(ev), attestor.CheckVulnerabilities)
			if len(c.Reasons) == 0 || !strings.Contains(c.Reasons[0].Message, "from the base static") || !strings.Contains(c.Reasons[0].Fix, tt.want) {
				t.Errorf("%+v, want the advice %q", c.Reasons, tt.want)
			}
		})
	}
}

// TestAnErrorIsNoWarning: a check that only warns stays undecided where something
// could not be found out, in whatever order the two were found.
func TestAnErrorIsNoWarning(t *testing.T) {
	p := with(t, "  checks: {user: warn}")
	denial := problem(attestor.CheckUser, attestor.StatusDeny, attestor.CodeUserRoot)
	failure := problem(attestor.CheckUser, attestor.StatusError, attestor.CodeUserLookupFailed)
	for _, list := range [][]attestor.Problem{{denial, failure}, {failure, denial}} {
		v := p.Judge(passing(p, on(func(e *attestor.PlatformEvidence) { e.Problems = list })))
		if c := check(t, v, attestor.CheckUser); v.Outcome() != attestor.Undecided || c.Status != attestor.StatusError {
			t.Errorf("%s: %+v", v.Outcome(), c)
		}
	}
}

// TestRemarksAreSorted: remarks about a policy come in one order, whatever the order
// of its exceptions.
func TestRemarksAreSorted(t *testing.T) {
	const a = "{check: user, subject: a, owner: o, reason: r, expires: 2026-12-01}"
	const b = "{check: user, subject: b, owner: o, reason: r, expires: 2026-12-01}"
	said := func(list string) []string {
		p := with(t, "  exceptions: ["+list+"]")
		var out []string
		for _, r := range check(t, p.Judge(passing(p)), attestor.CheckPolicy).Reasons {
			out = append(out, r.Message)
		}
		return out
	}
	first, second := said(a+", "+b), said(b+", "+a)
	if len(first) != 2 {
		t.Fatalf("%d remarks", len(first))
	}
	if diff := cmp.Diff(first, second); diff != "" {
		t.Errorf("they depend on the order of the exceptions:\n%s", diff)
	}
	if !slices.IsSorted(first) {
		t.Errorf("%q", first)
	}
}

// TestTheFirstStatementOfSeveral: of statements of provenance that lack equally much,
// the first is reported; of others, the one that lacks least.
func TestTheFirstStatementOfSeveral(t *testing.T) {
	p := with(t)
	good := passing(p).Platforms[0].Provenance[0]
	other, worse := good, good
	other.Builder = "https://builder.example/other"
	worse.Builder, worse.SLSALevel = "https://builder.example/worse", 0
	low := good
	low.SLSALevel = 1
	for _, tt := range []struct {
		list []attestor.Provenance
		want attestor.Code
	}{
		{[]attestor.Provenance{other, low}, attestor.CodeProvenanceBuilder},
		{[]attestor.Provenance{low, other}, attestor.CodeProvenanceLevel},
		{[]attestor.Provenance{worse, low}, attestor.CodeProvenanceLevel},
	} {
		c := check(t, p.Judge(passing(p, on(func(e *attestor.PlatformEvidence) { e.Provenance = tt.list }))), attestor.CheckProvenance)
		if len(c.Reasons) != 1 || c.Reasons[0].Code != tt.want {
			t.Errorf("%+v, want %s", c.Reasons, tt.want)
		}
	}
}

// TestTheZeroPolicyDenies: a policy that was never loaded names none.
func TestTheZeroPolicyDenies(t *testing.T) {
	v := (&policy.Policy{}).Judge(passing(with(t)))
	if v.Outcome() != attestor.Deny || v.Policy() != (attestor.PolicyRef{}) {
		t.Errorf("%s by %+v", v.Outcome(), v.Policy())
	}
}

// TestSecretsOfAnUnknownStatus are treated by the stricter of the two settings that
// are about them, unless the policy names the statuses that it judges.
func TestSecretsOfAnUnknownStatus(t *testing.T) {
	for _, tt := range []struct {
		secrets, unknown string
		want             attestor.Status
	}{
		{"found: deny", "deny", attestor.StatusDeny}, {"found: deny", "warn", attestor.StatusDeny}, {"found: deny", "ignore", attestor.StatusDeny},
		{"found: warn", "deny", attestor.StatusDeny}, {"found: warn", "warn", attestor.StatusWarn}, {"found: warn", "ignore", attestor.StatusWarn},
		{"found: deny, statuses: [VALID]", "deny", attestor.StatusDeny}, {"found: deny, statuses: [VALID]", "warn", attestor.StatusWarn},
		{"found: deny, statuses: [VALID]", "ignore", attestor.StatusPass},
	} {
		p := with(t, "  secrets: {"+tt.secrets+"}", "  unknownFindings: "+tt.unknown)
		c := check(t, p.Judge(passing(p, on(func(e *attestor.PlatformEvidence) {
			e.Scan.Secrets = []attestor.Secret{{Kind: "GCP_API_KEY", Path: "/a", Status: "STATUS_9"}}
		}))), attestor.CheckSecrets)
		if c.Status != tt.want {
			t.Errorf("%s, unknownFindings: %s: %s, want %s", tt.secrets, tt.unknown, c.Status, tt.want)
		}
	}
}

// TestASignatureThatIsAskedForLater lets a base pass unsigned until its date, and
// nothing else that is wrong with it.
func TestASignatureThatIsAskedForLater(t *testing.T) {
	p := with(t, "      - {name: static, repository: registry.example/base/static, tags: [latest], signedBy: {key: /keys/base.pub}, "+from+"}")
	for code, want := range map[attestor.Code]attestor.Outcome{
		attestor.CodeBaseUnsigned: attestor.Pass, attestor.CodeLayersMismatch: attestor.Deny,
	} {
		v := p.Judge(passing(p, on(func(e *attestor.PlatformEvidence) {
			e.Problems = []attestor.Problem{problem(attestor.CheckBase, attestor.StatusDeny, code)}
		})))
		if v.Outcome() != want {
			t.Errorf("%s: %s, want %s", code, v.Outcome(), want)
		}
	}
}
