package emulator

import (
	"context"
	"fmt"
	"slices"

	"cloud.google.com/go/kms/apiv1/kmspb"
	locationpb "google.golang.org/genproto/googleapis/cloud/location"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/anypb"
)

// UpdateCryptoKey changes labels and the algorithm of later versions. google.cloud.kms.v1, update_mask: "Required. List
// of fields to be updated in this request."
func (s kmsService) UpdateCryptoKey(
	ctx context.Context,
	r *kmspb.UpdateCryptoKeyRequest,
) (*kmspb.CryptoKey, error) {
	name := r.GetCryptoKey().GetName()
	if err := checkName(s.names.key, "crypto_key.name", name); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "cloudkms.cryptoKeys.update", name); err != nil {
		return nil, err
	}

	paths := r.GetUpdateMask().GetPaths()
	if len(paths) == 0 {
		return nil, invalid("update_mask", "update_mask is required")
	}
	for _, p := range paths {
		// The other fields are output only, immutable, or about keys that encrypt.
		if p != "labels" && p != "version_template" && p != "version_template.algorithm" {
			return nil, invalid("update_mask", fmt.Sprintf("the emulator does not update %s of a key", p))
		}
	}

	s.store.mu.Lock()
	defer s.store.mu.Unlock()

	row, ok := s.store.get(tableKeys, name)
	if !ok {
		return nil, notFound("CryptoKey %s not found.", name)
	}
	old := decode[kmspb.CryptoKey](row)
	key, err := updated(old, r.GetCryptoKey(), r.GetUpdateMask())
	if err != nil {
		return nil, err
	}

	// A template that makes no key would fail at the next version.
	if err := checkAlgorithm(key.GetVersionTemplate().GetAlgorithm()); err != nil {
		return nil, err
	}
	key.VersionTemplate.ProtectionLevel = old.GetVersionTemplate().GetProtectionLevel()
	return key, s.store.apply(change{table: tableKeys, name: name, data: encode(key)})
}

// UpdateCryptoKeyPrimaryVersion always fails: the emulator has keys that sign. google.cloud.kms.v1: "Returns an error
// if called on a key whose purpose is not ENCRYPT_DECRYPT."
func (s kmsService) UpdateCryptoKeyPrimaryVersion(
	ctx context.Context,
	r *kmspb.UpdateCryptoKeyPrimaryVersionRequest,
) (*kmspb.CryptoKey, error) {
	if err := s.require(ctx, "cloudkms.cryptoKeys.update", r.GetName()); err != nil {
		return nil, err
	}
	key, err := s.GetCryptoKey(ctx, &kmspb.GetCryptoKeyRequest{Name: r.GetName()})
	if err != nil {
		return nil, err
	}
	return nil, status.Errorf(codes.FailedPrecondition,
		"%s has purpose %v, and only keys of purpose ENCRYPT_DECRYPT have a primary version.",
		r.GetName(), key.GetPurpose())
}

// kmsLocations are some of the locations of Cloud KMS, in order.
func kmsLocations() []string {
	return []string{"asia", "asia-northeast1", "eur4", "europe", "europe-west1", "global", "us",
		"us-central1", "us-east1"}
}

func location(project, id string) *locationpb.Location {
	out := &locationpb.Location{Name: project + "/locations/" + id, LocationId: id}

	// google.cloud.kms.v1, LocationMetadata: "Cloud KMS metadata for the given Location". Without HSM and EKM it is
	// empty, and still there.
	if m, err := anypb.New(&kmspb.LocationMetadata{}); err == nil {
		out.Metadata = m
	}
	return out
}

func (s locationService) ListLocations(
	ctx context.Context,
	r *locationpb.ListLocationsRequest,
) (*locationpb.ListLocationsResponse, error) {
	if err := checkName(s.names.project, "name", r.GetName()); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "cloudkms.locations.list", r.GetName()); err != nil {
		return nil, err
	}
	if r.GetFilter() != "" {
		return nil, invalid("filter", "the emulator does not filter locations")
	}

	// There are fewer than a page holds.
	out := &locationpb.ListLocationsResponse{}
	for _, id := range kmsLocations() {
		out.Locations = append(out.Locations, location(r.GetName(), id))
	}
	return out, nil
}

func (s locationService) GetLocation(
	ctx context.Context,
	r *locationpb.GetLocationRequest,
) (*locationpb.Location, error) {
	if err := checkName(s.names.location, "name", r.GetName()); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "cloudkms.locations.get", r.GetName()); err != nil {
		return nil, err
	}

	id := lastSegment(r.GetName())
	if !slices.Contains(kmsLocations(), id) {
		return nil, notFound("Location %s not found.", r.GetName())
	}
	return location(parentOf(r.GetName()), id), nil
}
