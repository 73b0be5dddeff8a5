package corpus

import (
	"time"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// GoogleNote is under which Google's scanner speaks.
const GoogleNote = "projects/goog-analysis/notes/PACKAGE_VULNERABILITY"

// A Change makes an occurrence another one.
type Change = func(*grafeaspb.Occurrence)

// Discovery is a scanner's word, of two hours before now.
func Discovery(uri string, status grafeaspb.DiscoveryOccurrence_AnalysisStatus, now time.Time,
	changes ...Change) *grafeaspb.Occurrence {
	o := &grafeaspb.Occurrence{
		ResourceUri: uri, NoteName: GoogleNote,
		Details: &grafeaspb.Occurrence_Discovery{Discovery: &grafeaspb.DiscoveryOccurrence{
			AnalysisStatus: status, ContinuousAnalysis: grafeaspb.DiscoveryOccurrence_ACTIVE,
			LastScanTime: timestamppb.New(now.Add(-2 * time.Hour)),
		}},
	}

	for _, c := range changes {
		c(o)
	}
	return o
}

// Complete is a scan that succeeded.
func Complete(uri string, now time.Time, changes ...Change) *grafeaspb.Occurrence {
	return Discovery(uri, grafeaspb.DiscoveryOccurrence_FINISHED_SUCCESS, now, changes...)
}

// Under files an occurrence under another note.
func Under(note string) Change { return func(o *grafeaspb.Occurrence) { o.NoteName = note } }

// Finding is what Google's scanner writes of an old openssl that has a fix.
func Finding(uri, id string, severity grafeaspb.Severity, changes ...Change) *grafeaspb.Occurrence {
	o := &grafeaspb.Occurrence{
		ResourceUri: uri, NoteName: "projects/goog-vulnz/notes/" + id,
		Details: &grafeaspb.Occurrence_Vulnerability{Vulnerability: &grafeaspb.VulnerabilityOccurrence{
			EffectiveSeverity: severity, ShortDescription: id,
			PackageIssue: []*grafeaspb.VulnerabilityOccurrence_PackageIssue{{
				AffectedCpeUri: "cpe:/o:debian:debian_linux:12", AffectedPackage: "openssl",
				AffectedVersion: &grafeaspb.Version{Kind: grafeaspb.Version_NORMAL, Name: "3.0.11", FullName: "3.0.11"},
				FixedCpeUri:     "cpe:/o:debian:debian_linux:12", FixedPackage: "openssl",
				FixedVersion: &grafeaspb.Version{Kind: grafeaspb.Version_NORMAL, Name: "3.0.15", FullName: "3.0.15"},
				FixAvailable: true, PackageType: "OS", EffectiveSeverity: severity,
			}},
		}},
	}

	for _, c := range changes {
		c(o)
	}
	return o
}

// Vulnerable edits a finding and its first package.
func Vulnerable(f func(*grafeaspb.VulnerabilityOccurrence, *grafeaspb.VulnerabilityOccurrence_PackageIssue)) Change {
	return func(o *grafeaspb.Occurrence) { f(o.GetVulnerability(), o.GetVulnerability().GetPackageIssue()[0]) }
}

// SignedAttestation is an attestation occurrence made without the product's
// code, its one signature over payload.
func SignedAttestation(note, keyID, resource string, payload, signature []byte) *grafeaspb.Occurrence {
	return &grafeaspb.Occurrence{
		NoteName: note, ResourceUri: resource, Kind: grafeaspb.NoteKind_ATTESTATION,
		Details: &grafeaspb.Occurrence_Attestation{Attestation: &grafeaspb.AttestationOccurrence{
			SerializedPayload: payload, Signatures: []*grafeaspb.Signature{{PublicKeyId: keyID, Signature: signature}},
		}},
	}
}
