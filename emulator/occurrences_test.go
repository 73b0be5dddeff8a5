package emulator_test

import (
	"time"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func discovery(resource string) *grafeaspb.Occurrence {
	return &grafeaspb.Occurrence{
		ResourceUri: resource, NoteName: "projects/goog-analysis/notes/PACKAGE_VULNERABILITY",
		Details: &grafeaspb.Occurrence_Discovery{Discovery: &grafeaspb.DiscoveryOccurrence{
			AnalysisStatus:     grafeaspb.DiscoveryOccurrence_FINISHED_SUCCESS,
			ContinuousAnalysis: grafeaspb.DiscoveryOccurrence_ACTIVE,
			LastScanTime:       timestamppb.New(start.Add(123456789 * time.Nanosecond)),
		}},
	}
}

func vulnerability(resource, cve string) *grafeaspb.Occurrence {
	return &grafeaspb.Occurrence{
		ResourceUri: resource, NoteName: "projects/goog-vulnz/notes/" + cve,
		Details: &grafeaspb.Occurrence_Vulnerability{Vulnerability: &grafeaspb.VulnerabilityOccurrence{
			Severity: grafeaspb.Severity_HIGH, EffectiveSeverity: grafeaspb.Severity_CRITICAL, FixAvailable: true, ShortDescription: cve,
			PackageIssue: []*grafeaspb.VulnerabilityOccurrence_PackageIssue{{
				AffectedCpeUri: "cpe:/o:debian:debian_linux:12", AffectedPackage: "openssl", PackageType: "OS",
				AffectedVersion: &grafeaspb.Version{Name: "3.0.11", Kind: grafeaspb.Version_NORMAL, FullName: "3.0.11"},
				FixedVersion:    &grafeaspb.Version{Name: "3.0.15", Kind: grafeaspb.Version_NORMAL, FullName: "3.0.15"},
				FixAvailable:    true, EffectiveSeverity: grafeaspb.Severity_CRITICAL,
			}},
		}},
	}
}
