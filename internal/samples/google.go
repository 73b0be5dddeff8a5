package samples

import (
	"context"
	"fmt"
	"time"

	binaryauthorization "cloud.google.com/go/binaryauthorization/apiv1"
	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	grafeas "cloud.google.com/go/grafeas/apiv1"
	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Names of the attestors, notes and keys that samples are signed by: those of a pass, and those of an override, which
// deploy policies can tell from a pass. Scripts and the documentation use them.
const (
	Project  = "dev"
	Attestor = "projects/dev/attestors/gate"
	Note     = "projects/dev/notes/gate"
	Key      = keyRing + "/cryptoKeys/gate/cryptoKeyVersions/1"

	OverrideAttestor = "projects/dev/attestors/break-glass"
	OverrideKey      = keyRing + "/cryptoKeys/break-glass/cryptoKeyVersions/1"

	keyRing = "projects/dev/locations/global/keyRings/gate"
)

// Google holds the clients that samples are written with.
type Google struct {
	KMS      *kms.KeyManagementClient
	Grafeas  *grafeas.Client
	Binauthz *binaryauthorization.BinauthzManagementClient
}

// existing drops the error of a resource that exists already, as after a restart
// with --state.
func existing(err error) error {
	if status.Code(err) == codes.AlreadyExists {
		return nil
	}
	return err
}

// Prepare creates the keys, the notes and the attestors, as an operator would with gcloud. Those that exist stay
// unchanged.
func (g Google) Prepare(ctx context.Context) error {
	_, err := g.KMS.CreateKeyRing(
		ctx,
		&kmspb.CreateKeyRingRequest{Parent: "projects/dev/locations/global", KeyRingId: "gate"},
	)
	if existing(err) != nil {
		return err
	}

	if err := g.prepare(ctx, "gate", Key, "passed the gate"); err != nil {
		return err
	}
	return g.prepare(ctx, "break-glass", OverrideKey, "admitted in spite of the verdict")
}

// prepare creates a key, a note and an attestor of the same id.
func (g Google) prepare(ctx context.Context, id, version, about string) error {
	_, err := g.KMS.CreateCryptoKey(
		ctx,
		&kmspb.CreateCryptoKeyRequest{Parent: keyRing, CryptoKeyId: id, CryptoKey: &kmspb.CryptoKey{
			Purpose:         kmspb.CryptoKey_ASYMMETRIC_SIGN,
			VersionTemplate: &kmspb.CryptoKeyVersionTemplate{Algorithm: kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256},
		}},
	)
	if existing(err) != nil {
		return err
	}
	key, err := g.KMS.GetPublicKey(ctx, &kmspb.GetPublicKeyRequest{Name: version})
	if err != nil {
		return err
	}

	_, err = g.Grafeas.CreateNote(
		ctx,
		&grafeaspb.CreateNoteRequest{Parent: "projects/dev", NoteId: id, Note: &grafeaspb.Note{
			ShortDescription: about,
			Type: &grafeaspb.Note_Attestation{
				Attestation: &grafeaspb.AttestationNote{
					Hint: &grafeaspb.AttestationNote_Hint{HumanReadableName: id},
				},
			},
		}},
	)
	if existing(err) != nil {
		return err
	}

	public := &binaryauthorizationpb.AttestorPublicKey{
		Id: "//cloudkms.googleapis.com/v1/" + version,
		PublicKey: &binaryauthorizationpb.AttestorPublicKey_PkixPublicKey{
			PkixPublicKey: &binaryauthorizationpb.PkixPublicKey{
				PublicKeyPem:       key.GetPem(),
				SignatureAlgorithm: binaryauthorizationpb.PkixPublicKey_ECDSA_P256_SHA256,
			},
		},
	}
	_, err = g.Binauthz.CreateAttestor(
		ctx,
		&binaryauthorizationpb.CreateAttestorRequest{
			Parent:     "projects/dev",
			AttestorId: id,
			Attestor: &binaryauthorizationpb.Attestor{
				Name: "projects/dev/attestors/" + id,
				AttestorType: &binaryauthorizationpb.Attestor_UserOwnedGrafeasNote{
					UserOwnedGrafeasNote: &binaryauthorizationpb.UserOwnedGrafeasNote{
						NoteReference: "projects/dev/notes/" + id,
						PublicKeys:    []*binaryauthorizationpb.AttestorPublicKey{public},
					},
				},
			},
		},
	)
	return existing(err)
}

// Push pushes the samples to a registry, and writes the occurrences that Google's
// scanner would write.
func (g Google) Push(ctx context.Context, registry string) ([]Sample, error) {
	all, err := All()
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
			if err := g.WriteScan(ctx, "https://"+ref.Repository.Name()+"@"+d.String(), s.Scan); err != nil {
				return nil, err
			}
		}
	}
	return all, nil
}

// WriteScan writes the occurrences that the scanner would write of resource
// (https://REPOSITORY@DIGEST), unless there are some.
func (g Google) WriteScan(ctx context.Context, resource string, scan Scan) error {
	if scan == NotScanned {
		return nil
	}
	it := g.Grafeas.ListOccurrences(
		ctx,
		&grafeaspb.ListOccurrencesRequest{
			Parent:   "projects/dev",
			Filter:   fmt.Sprintf("kind=%q AND resourceUrl=%q", "DISCOVERY", resource),
			PageSize: 1,
		},
	)

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
	if scan == FixableCritical {
		occurrences = append(occurrences, vulnerability(resource))
	}

	_, err := g.Grafeas.BatchCreateOccurrences(
		ctx,
		&grafeaspb.BatchCreateOccurrencesRequest{Parent: "projects/dev", Occurrences: occurrences},
	)
	return err
}

// vulnerability is the occurrence that Google's scanner writes for an old openssl.
func vulnerability(resource string) *grafeaspb.Occurrence {
	return &grafeaspb.Occurrence{
		ResourceUri: resource, NoteName: "projects/goog-vulnz/notes/CVE-2022-3602",
		Details: &grafeaspb.Occurrence_Vulnerability{Vulnerability: &grafeaspb.VulnerabilityOccurrence{
			Severity: grafeaspb.Severity_CRITICAL, EffectiveSeverity: grafeaspb.Severity_CRITICAL,
			FixAvailable: true, CvssScore: 9.8,
			ShortDescription: "CVE-2022-3602",
			PackageIssue: []*grafeaspb.VulnerabilityOccurrence_PackageIssue{{
				AffectedCpeUri: "cpe:/o:debian:debian_linux:12", AffectedPackage: "openssl", PackageType: "OS",
				AffectedVersion: &grafeaspb.Version{
					Name:     "3.0.5",
					Revision: "1",
					Kind:     grafeaspb.Version_NORMAL,
					FullName: "3.0.5-1",
				},
				FixedCpeUri: "cpe:/o:debian:debian_linux:12", FixedPackage: "openssl",
				FixedVersion: &grafeaspb.Version{
					Name:     "3.0.7",
					Revision: "1",
					Kind:     grafeaspb.Version_NORMAL,
					FullName: "3.0.7-1",
				},
				FixAvailable: true, EffectiveSeverity: grafeaspb.Severity_CRITICAL,
			}},
		}},
	}
}
