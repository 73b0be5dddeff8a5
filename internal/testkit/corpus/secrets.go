package corpus

import (
	"time"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/attestor-gate/attestor"
)

// Secret returns a scanner's report of a credential in a file, with its statuses in order of time.
func Secret(uri string, kind grafeaspb.SecretKind, file string,
	statuses ...grafeaspb.SecretStatus_Status) *grafeaspb.Occurrence {
	s := &grafeaspb.SecretOccurrence{Kind: kind}
	if file != "" {
		s.Locations = []*grafeaspb.SecretLocation{{Location: &grafeaspb.SecretLocation_FileLocation{
			FileLocation: &grafeaspb.FileLocation{FilePath: file},
		}}}
	}

	for i, status := range statuses {
		s.Statuses = append(s.Statuses, &grafeaspb.SecretStatus{
			Status: status, UpdateTime: timestamppb.New(time.Date(2026, 11, 1+i, 0, 0, 0, 0, time.UTC)),
		})
	}

	return &grafeaspb.Occurrence{
		ResourceUri: uri, NoteName: "projects/goog-analysis/notes/SECRET",
		Details: &grafeaspb.Occurrence_Secret{Secret: s},
	}
}

// secrets are what a scanner reports of credentials in an image that is otherwise good.
func secrets() []Case {
	const group = "secrets/"
	const valid, invalid, unknown = grafeaspb.SecretStatus_VALID, grafeaspb.SecretStatus_INVALID,
		grafeaspb.SecretStatus_UNKNOWN
	const key = grafeaspb.SecretKind_SECRET_KIND_GCP_SERVICE_ACCOUNT_KEY
	now := time.Now()
	with := func(kind grafeaspb.SecretKind, file string, statuses ...grafeaspb.SecretStatus_Status) func(string) []*grafeaspb.Occurrence {
		return func(uri string) []*grafeaspb.Occurrence {
			return []*grafeaspb.Occurrence{Complete(uri, now), Secret(uri, kind, file, statuses...)}
		}
	}

	found := denied(attestor.CodeSecretFound)
	onlyValid := policyOf("") + "\n  secrets: {statuses: [VALID]}"
	excepted := policyOf("") + "\n  exceptions: [{check: secrets, subject: GCP_SERVICE_ACCOUNT_KEY, " +
		"paths: [\"/app/testdata/**\"], owner: o, reason: r, expires: 2099-01-01}]"
	return []Case{
		scanned(group+"valid", "", found, with(key, "/app/key.json", valid)),
		scanned(group+"known to be invalid", "", admitted(), with(key, "/app/key.json", invalid)).mending(
			group + "valid"),
		scanned(group+"without a status", "", found, with(key, "/app/key.json")),
		scanned(group+"of a status that nobody knows", "", found, with(key, "/app/key.json", unknown)),
		scanned(group+"valid again", "", found, with(key, "/app/key.json", invalid, valid)),
		scanned(group+"valid once", "", admitted(), with(key, "/app/key.json", valid, invalid)).mending(
			group + "valid again"),
		scanned(group+"of a kind of tomorrow", "", found, with(999, "/app/key.json", valid)),
		scanned(group+"of a status of tomorrow", "", denied(attestor.CodeSecretUnknown),
			with(key, "/app/key.json", 99)),
		scanned(group+"of a status of tomorrow, where only valid ones count", onlyValid,
			denied(attestor.CodeSecretUnknown), with(key, "/app/key.json", 99)),
		scanned(group+"of a status that nobody knows, where only valid ones count", onlyValid, admitted(),
			with(key, "/app/key.json", unknown)).
			mending(group + "of a status of tomorrow, where only valid ones count"),
		scanned(group+"without details", "", found, with(0, "")),
		scanned(group+"by anybody's note", "", found, func(uri string) []*grafeaspb.Occurrence {
			o := Secret(uri, key, "/app/key.json", valid)
			o.NoteName = "projects/mallory/notes/secret"
			return []*grafeaspb.Occurrence{Complete(uri, now), o}
		}),
		scanned(group+"beside a scan that has not finished", "",
			denied(attestor.CodeScanRunning, attestor.CodeSecretFound), func(uri string) []*grafeaspb.Occurrence {
				return []*grafeaspb.Occurrence{Discovery(uri, grafeaspb.DiscoveryOccurrence_SCANNING, now),
					Secret(uri, key, "/app/key.json", valid)}
			}),
		scanned(group+"out of the excepted directory by dots", excepted, found,
			with(key, "/app/testdata/../key.json", valid)),
		scanned(group+"in the excepted directory", excepted, admitted(), with(key, "/app/testdata/a/key.json", valid)).
			mending(group + "out of the excepted directory by dots"),
		{Name: group + "on the second child of an index", Policy: AnyBase, Want: found, Arrange: func(p *Place) {
			amd, arm := p.Good(), p.Good()
			arm.Arch = "arm64"
			p.PushTo(p.Repo, "amd64", amd)
			d := p.PushTo(p.Repo, "arm64", arm)
			p.Scans[d] = []*grafeaspb.Occurrence{Complete(p.Resource(d), now), Secret(p.Resource(d), key, "/k", valid)}
			p.Manifest("1", OCIIndex, Index(amd.Entry(), arm.Entry()))
		}},
	}
}
