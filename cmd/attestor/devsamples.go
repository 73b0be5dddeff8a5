package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	grafeas "cloud.google.com/go/grafeas/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/attestor-gate/attestor/internal/samples"
)

// existing is not an error where the state was kept.
func existing(err error) error {
	if status.Code(err) == codes.AlreadyExists {
		return nil
	}
	return err
}

// prepareGoogle makes key, note and attestor, as an operator would with gcloud.
func prepareGoogle(ctx context.Context, g *google) error {
	_, err := g.kms.CreateKeyRing(ctx, &kmspb.CreateKeyRingRequest{Parent: "projects/dev/locations/global", KeyRingId: "gate"})
	if existing(err) != nil {
		return err
	}
	_, err = g.kms.CreateCryptoKey(ctx, &kmspb.CreateCryptoKeyRequest{Parent: devKeyRing, CryptoKeyId: "gate", CryptoKey: &kmspb.CryptoKey{
		Purpose:         kmspb.CryptoKey_ASYMMETRIC_SIGN,
		VersionTemplate: &kmspb.CryptoKeyVersionTemplate{Algorithm: kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256},
	}})
	if existing(err) != nil {
		return err
	}
	key, err := g.kms.GetPublicKey(ctx, &kmspb.GetPublicKeyRequest{Name: devKey})
	if err != nil {
		return err
	}
	_, err = g.grafeas.CreateNote(ctx, &grafeaspb.CreateNoteRequest{Parent: "projects/dev", NoteId: "gate", Note: &grafeaspb.Note{
		ShortDescription: "passed the gate",
		Type:             &grafeaspb.Note_Attestation{Attestation: &grafeaspb.AttestationNote{Hint: &grafeaspb.AttestationNote_Hint{HumanReadableName: "gate"}}},
	}})
	if existing(err) != nil {
		return err
	}
	_, err = g.binauthz.CreateAttestor(ctx, &binaryauthorizationpb.CreateAttestorRequest{Parent: "projects/dev", AttestorId: "gate", Attestor: &binaryauthorizationpb.Attestor{
		Name: devAttestor,
		AttestorType: &binaryauthorizationpb.Attestor_UserOwnedGrafeasNote{UserOwnedGrafeasNote: &binaryauthorizationpb.UserOwnedGrafeasNote{
			NoteReference: devNote,
			PublicKeys: []*binaryauthorizationpb.AttestorPublicKey{{
				Id: "//cloudkms.googleapis.com/v1/" + devKey,
				PublicKey: &binaryauthorizationpb.AttestorPublicKey_PkixPublicKey{PkixPublicKey: &binaryauthorizationpb.PkixPublicKey{
					PublicKeyPem: key.GetPem(), SignatureAlgorithm: binaryauthorizationpb.PkixPublicKey_ECDSA_P256_SHA256,
				}},
			}},
		}},
	}})
	return existing(err)
}

// pushSamples pushes the sample images, and writes the scans that Google's
// scanner would have written.
func pushSamples(ctx context.Context, registry string, analysis *grafeas.Client) ([]samples.Sample, error) {
	all, err := samples.All()
	if err != nil {
		return nil, err
	}
	for _, s := range all {
		ref, err := name.NewTag(registry + "/" + s.Repository + ":" + s.Tag)
		if err != nil {
			return nil, err
		}
		// A push replaces a tag, so that a restart with --state changes nothing.
		if s.Index != nil {
			err = remote.WriteIndex(ref, s.Index, remote.WithContext(ctx))
		} else {
			err = remote.Write(ref, s.Image, remote.WithContext(ctx))
		}
		if err != nil {
			return nil, fmt.Errorf("pushing %s: %w", ref, err)
		}
		digests, err := s.Children()
		if err != nil {
			return nil, err
		}
		for _, d := range digests {
			if err := writeScan(ctx, analysis, "https://"+ref.Repository.Name()+"@"+d.String(), s.Scan); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

func writeScan(ctx context.Context, analysis *grafeas.Client, resource string, scan samples.Scan) error {
	if scan == samples.NotScanned {
		return nil
	}
	it := analysis.ListOccurrences(ctx, &grafeaspb.ListOccurrencesRequest{Parent: "projects/dev", Filter: fmt.Sprintf("kind=%q AND resourceUrl=%q", "DISCOVERY", resource), PageSize: 1})
	if found, err := it.Next(); err == nil && found != nil {
		return nil // the state was kept
	}
	occurrences := []*grafeaspb.Occurrence{{
		ResourceUri: resource, NoteName: "projects/goog-analysis/notes/PACKAGE_VULNERABILITY",
		Details: &grafeaspb.Occurrence_Discovery{Discovery: &grafeaspb.DiscoveryOccurrence{
			ContinuousAnalysis: grafeaspb.DiscoveryOccurrence_ACTIVE,
			AnalysisStatus:     grafeaspb.DiscoveryOccurrence_FINISHED_SUCCESS,
			AnalysisCompleted:  &grafeaspb.DiscoveryOccurrence_AnalysisCompleted{AnalysisType: []string{"OS"}},
			LastScanTime:       timestamppb.New(time.Now()),
		}},
	}}
	if scan == samples.FixableCritical {
		occurrences = append(occurrences, vulnerability(resource))
	}
	_, err := analysis.BatchCreateOccurrences(ctx, &grafeaspb.BatchCreateOccurrencesRequest{Parent: "projects/dev", Occurrences: occurrences})
	return err
}

// vulnerability is what Google's scanner writes of an old openssl.
func vulnerability(resource string) *grafeaspb.Occurrence {
	return &grafeaspb.Occurrence{
		ResourceUri: resource, NoteName: "projects/goog-vulnz/notes/CVE-2022-3602",
		Details: &grafeaspb.Occurrence_Vulnerability{Vulnerability: &grafeaspb.VulnerabilityOccurrence{
			Severity: grafeaspb.Severity_CRITICAL, EffectiveSeverity: grafeaspb.Severity_CRITICAL, FixAvailable: true, CvssScore: 9.8,
			ShortDescription: "CVE-2022-3602",
			PackageIssue: []*grafeaspb.VulnerabilityOccurrence_PackageIssue{{
				AffectedCpeUri: "cpe:/o:debian:debian_linux:12", AffectedPackage: "openssl", PackageType: "OS",
				AffectedVersion: &grafeaspb.Version{Name: "3.0.5", Revision: "1", Kind: grafeaspb.Version_NORMAL, FullName: "3.0.5-1"},
				FixedCpeUri:     "cpe:/o:debian:debian_linux:12", FixedPackage: "openssl",
				FixedVersion: &grafeaspb.Version{Name: "3.0.7", Revision: "1", Kind: grafeaspb.Version_NORMAL, FullName: "3.0.7-1"},
				FixAvailable: true, EffectiveSeverity: grafeaspb.Severity_CRITICAL,
			}},
		}},
	}
}

// printParts says what runs where.
func printParts(w io.Writer, p *devParts, policies []string) {
	fmt.Fprintf(w, "service    http://%s\nregistry   %s\nGoogle     %s (Container Analysis, Cloud KMS, Binary Authorization; emulated)\nattestor   %s\npolicy     %s\n",
		p.service.Addr(), p.registry.Addr(), p.google.Addr(), devAttestor, strings.Join(policies, " "))
}

// printSamples says what there is and what to try.
func printSamples(w io.Writer, p *devParts, pushed []samples.Sample) {
	registry, service := p.registry.Addr().String(), "http://"+p.service.Addr().String()
	fmt.Fprintln(w, "\nimages")
	for _, s := range pushed {
		fmt.Fprintf(w, "  %-*s  %s\n", len(registry)+18, registry+"/"+s.Repository+":"+s.Tag, s.About)
	}
	self := os.Args[0]
	fmt.Fprintf(w, "\ntry\n")
	fmt.Fprintf(w, "  %s attest --server %s %s/app/good:v1\n", self, service, registry)
	fmt.Fprintf(w, "  %s attest --server %s %s/app/root:v1\n", self, service, registry)
	fmt.Fprintf(w, "  curl -s %s/v1/attest -H 'Content-Type: application/json' -d '{\"image\": \"%s/app/vulnerable:v1\"}'\n", service, registry)
	fmt.Fprintf(w, "  %s verify --emulator %s --attestor %s %s/app/good:v1\n\n", self, p.google.Addr(), devAttestor, registry)
}
