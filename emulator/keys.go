package emulator

import (
	"context"
	"crypto"
	"crypto/x509"
	"fmt"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// destroyAfter is KMS's default time between scheduling and destruction.
const destroyAfter = 30 * 24 * time.Hour

// KMS takes no shorter and no longer time.
const minDestroyAfter, maxDestroyAfter = 24 * time.Hour, 120 * 24 * time.Hour

func (s kmsService) CreateKeyRing(ctx context.Context, r *kmspb.CreateKeyRingRequest) (*kmspb.KeyRing, error) {
	if err := checkName(s.names.location, "parent", r.GetParent()); err != nil {
		return nil, err
	}
	name := r.GetParent() + "/keyRings/" + r.GetKeyRingId()
	if err := checkName(s.names.keyRing, "key_ring_id", name); err != nil {
		return nil, err
	}

	if err := s.require(ctx, "cloudkms.keyRings.create", r.GetParent()); err != nil {
		return nil, err
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()

	// Looking and writing are one step under the lock: of two creations one wins.
	if _, ok := s.store.get(tableKeyRings, name); ok {
		return nil, alreadyExists(name, fmt.Sprintf("KeyRing %s already exists.", name))
	}

	// Key rings cannot be deleted, in the live service neither.
	ring := &kmspb.KeyRing{Name: name, CreateTime: timestamppb.New(s.now())}
	return ring, s.store.apply(change{table: tableKeyRings, name: name, data: encode(ring)})
}

func (s kmsService) GetKeyRing(ctx context.Context, r *kmspb.GetKeyRingRequest) (*kmspb.KeyRing, error) {
	if err := s.require(ctx, "cloudkms.keyRings.get", r.GetName()); err != nil {
		return nil, err
	}
	s.store.mu.RLock()
	defer s.store.mu.RUnlock()

	row, ok := s.store.get(tableKeyRings, r.GetName())
	if !ok {
		return nil, notFound("KeyRing %s not found.", r.GetName())
	}
	return decode[kmspb.KeyRing](row), nil
}

func (s kmsService) CreateCryptoKey(ctx context.Context, r *kmspb.CreateCryptoKeyRequest) (*kmspb.CryptoKey, error) {
	name := r.GetParent() + "/cryptoKeys/" + r.GetCryptoKeyId()
	if err := checkName(s.names.key, "crypto_key_id", name); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "cloudkms.cryptoKeys.create", r.GetParent()); err != nil {
		return nil, err
	}

	// Keys of other purposes would be accepted and then fail at the first signature.
	template := r.GetCryptoKey().GetVersionTemplate()
	if p := r.GetCryptoKey().GetPurpose(); p != kmspb.CryptoKey_ASYMMETRIC_SIGN {
		return nil, invalid(
			"crypto_key.purpose",
			fmt.Sprintf("the emulator keeps keys of purpose ASYMMETRIC_SIGN only, not %v", p),
		)
	}

	if err := checkAlgorithm(template.GetAlgorithm()); err != nil {
		return nil, err
	}
	scheduled := destroyAfter
	if d := r.GetCryptoKey().GetDestroyScheduledDuration(); d != nil {
		if scheduled = d.AsDuration(); scheduled < minDestroyAfter || scheduled > maxDestroyAfter {
			return nil, invalid("crypto_key.destroy_scheduled_duration", "it must be from 24 hours to 120 days")
		}
	}

	key := &kmspb.CryptoKey{
		Name: name, Purpose: kmspb.CryptoKey_ASYMMETRIC_SIGN, CreateTime: timestamppb.New(s.now()),
		Labels:                   r.GetCryptoKey().GetLabels(),
		DestroyScheduledDuration: durationpb.New(scheduled),
		VersionTemplate: &kmspb.CryptoKeyVersionTemplate{
			Algorithm: template.GetAlgorithm(), ProtectionLevel: protection(template.GetProtectionLevel()),
		},
	}

	changes := []change{{table: tableKeys, name: name, data: encode(key)}}
	if !r.GetSkipInitialVersionCreation() {
		// Made before the lock is taken: RSA keys take their time.
		version, err := s.newVersion(name+"/cryptoKeyVersions/1", key.GetVersionTemplate(), nil)
		if err != nil {
			return nil, err
		}
		changes = append(changes, version...)
	}

	s.store.mu.Lock()
	defer s.store.mu.Unlock()

	// Looked up and written under one lock: of two creations one wins.
	if _, ok := s.store.get(tableKeyRings, r.GetParent()); !ok {
		return nil, notFound("KeyRing %s not found.", r.GetParent())
	}
	if _, ok := s.store.get(tableKeys, name); ok {
		return nil, alreadyExists(name, fmt.Sprintf("CryptoKey %s already exists.", name))
	}
	return key, s.store.apply(changes...)
}

func protection(p kmspb.ProtectionLevel) kmspb.ProtectionLevel {
	if p == kmspb.ProtectionLevel_PROTECTION_LEVEL_UNSPECIFIED {
		return kmspb.ProtectionLevel_SOFTWARE
	}
	return p
}

func checkAlgorithm(a kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm) error {
	if _, ok := signingAlgorithm(a); ok || a == kmspb.CryptoKeyVersion_EC_SIGN_SECP256K1_SHA256 {
		return nil
	}
	return invalid(
		"crypto_key.version_template.algorithm",
		fmt.Sprintf("the emulator makes no keys of algorithm %v", a),
	)
}

// newVersion is an enabled version and its private key: k, or a new one.
func (e *Emulator) newVersion(name string, t *kmspb.CryptoKeyVersionTemplate, k crypto.Signer) ([]change, error) {
	now := timestamppb.New(e.now())
	v := &kmspb.CryptoKeyVersion{
		Name: name, State: kmspb.CryptoKeyVersion_ENABLED, Algorithm: t.GetAlgorithm(),
		ProtectionLevel: t.GetProtectionLevel(), CreateTime: now, GenerateTime: now,
	}

	changes := []change{{table: tableVersions, name: name, data: encode(v)}}
	alg, ok := signingAlgorithm(t.GetAlgorithm())
	if !ok {
		return changes, nil // a key that is only looked at
	}

	var err error
	if k == nil {
		if k, err = alg.generate(); err != nil {
			return nil, errInternal("making a key: %v", err)
		}
	}

	// Cloud KMS could not have made a key that does not fit.
	if err := alg.fits(k.Public()); err != nil {
		return nil, invalid("algorithm", fmt.Sprintf("%v: %v", t.GetAlgorithm(), err))
	}
	der, err := x509.MarshalPKCS8PrivateKey(k)
	if err != nil {
		return nil, errInternal("encoding a key: %v", err)
	}
	return append(changes, change{table: tableSecrets, name: name, data: encode(wrapperspb.Bytes(der))}), nil
}

// SeedKey puts a private key of the caller's choice where a key version's
// name says, with its key ring and key, enabled; what was there is replaced.
// The key must fit the algorithm. Tests use it to have fixed keys, and to
// save the seconds that RSA keys take.
func (e *Emulator) SeedKey(version string, a kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm, k crypto.Signer) error {
	if err := checkName(e.names.version, "version", version); err != nil {
		return err
	}
	if err := checkAlgorithm(a); err != nil {
		return err
	}

	template := &kmspb.CryptoKeyVersionTemplate{Algorithm: a, ProtectionLevel: kmspb.ProtectionLevel_SOFTWARE}
	changes, err := e.newVersion(version, template, k)
	if err != nil {
		return err
	}

	// Ring and key are made where they are missing, so that a test states only the
	// version.
	key := parentOf(version)
	ring := parentOf(key)
	now := timestamppb.New(e.now())
	// Deferred calls run last to first: signer takes these locks in the other order.
	defer e.keys.drop(version)

	e.store.mu.Lock()
	defer e.store.mu.Unlock()

	if _, ok := e.store.get(tableKeyRings, ring); !ok {
		changes = append(
			changes,
			change{table: tableKeyRings, name: ring, data: encode(&kmspb.KeyRing{Name: ring, CreateTime: now})},
		)
	}

	if _, ok := e.store.get(tableKeys, key); !ok {
		changes = append(changes, change{table: tableKeys, name: key, data: encode(&kmspb.CryptoKey{
			Name: key, Purpose: kmspb.CryptoKey_ASYMMETRIC_SIGN, CreateTime: now, VersionTemplate: template,
		})})
	}
	return e.store.apply(changes...)
}

func (s kmsService) GetCryptoKey(ctx context.Context, r *kmspb.GetCryptoKeyRequest) (*kmspb.CryptoKey, error) {
	if err := s.require(ctx, "cloudkms.cryptoKeys.get", r.GetName()); err != nil {
		return nil, err
	}
	s.store.mu.RLock()
	defer s.store.mu.RUnlock()

	row, ok := s.store.get(tableKeys, r.GetName())
	if !ok {
		return nil, notFound("CryptoKey %s not found.", r.GetName())
	}
	return decode[kmspb.CryptoKey](row), nil
}

func (s kmsService) CreateCryptoKeyVersion(
	ctx context.Context,
	r *kmspb.CreateCryptoKeyVersionRequest,
) (*kmspb.CryptoKeyVersion, error) {
	if err := s.require(ctx, "cloudkms.cryptoKeyVersions.create", r.GetParent()); err != nil {
		return nil, err
	}
	key, err := s.GetCryptoKey(ctx, &kmspb.GetCryptoKeyRequest{Name: r.GetParent()})
	if err != nil {
		return nil, err
	}

	// Made before the lock is taken, since RSA keys take seconds.
	signer, err := func() (crypto.Signer, error) {
		alg, ok := signingAlgorithm(key.GetVersionTemplate().GetAlgorithm())
		if !ok {
			return nil, nil
		}
		return alg.generate()
	}()
	if err != nil {
		return nil, errInternal("making a key: %v", err)
	}

	s.store.mu.Lock()
	defer s.store.mu.Unlock()

	// The number of a version is never used again, so that the first free one is the
	// next.
	n := 1
	for ; ; n++ {
		if _, ok := s.store.get(tableVersions, r.GetParent()+"/cryptoKeyVersions/"+strconv.Itoa(n)); !ok {
			break
		}
	}

	name := r.GetParent() + "/cryptoKeyVersions/" + strconv.Itoa(n)
	changes, err := s.newVersion(name, key.GetVersionTemplate(), signer)
	if err != nil {
		return nil, err
	}

	if err := s.store.apply(changes...); err != nil {
		return nil, err
	}
	row, _ := s.store.get(tableVersions, name)
	return decode[kmspb.CryptoKeyVersion](row), nil
}

func (s kmsService) GetCryptoKeyVersion(
	ctx context.Context,
	r *kmspb.GetCryptoKeyVersionRequest,
) (*kmspb.CryptoKeyVersion, error) {
	if err := s.require(ctx, "cloudkms.cryptoKeyVersions.get", r.GetName()); err != nil {
		return nil, err
	}
	s.store.mu.RLock()
	defer s.store.mu.RUnlock()

	row, ok := s.store.get(tableVersions, r.GetName())
	if !ok {
		return nil, notFound("CryptoKeyVersion %s not found.", r.GetName())
	}
	return decode[kmspb.CryptoKeyVersion](row), nil
}

// changeVersion changes a version under the lock.
func (s kmsService) changeVersion(
	ctx context.Context,
	permission, name string,
	f func(*kmspb.CryptoKeyVersion) error,
) (*kmspb.CryptoKeyVersion, error) {
	if err := s.require(ctx, permission, name); err != nil {
		return nil, err
	}
	s.store.mu.Lock()
	defer s.store.mu.Unlock()

	row, ok := s.store.get(tableVersions, name)
	if !ok {
		return nil, notFound("CryptoKeyVersion %s not found.", name)
	}
	v := decode[kmspb.CryptoKeyVersion](row)
	if err := f(v); err != nil {
		return nil, err
	}
	return v, s.store.apply(change{table: tableVersions, name: name, data: encode(v)})
}

// UpdateCryptoKeyVersion enables and disables, as KMS does and no more.
func (s kmsService) UpdateCryptoKeyVersion(
	ctx context.Context,
	r *kmspb.UpdateCryptoKeyVersionRequest,
) (*kmspb.CryptoKeyVersion, error) {
	if p := r.GetUpdateMask().GetPaths(); len(p) != 1 || p[0] != "state" {
		return nil, invalid("update_mask", "only state can be updated")
	}
	want := r.GetCryptoKeyVersion().GetState()
	if want != kmspb.CryptoKeyVersion_ENABLED && want != kmspb.CryptoKeyVersion_DISABLED {
		return nil, invalid(
			"crypto_key_version.state",
			fmt.Sprintf("state can be set to ENABLED or DISABLED, not %v", want),
		)
	}

	return s.changeVersion(
		ctx,
		"cloudkms.cryptoKeyVersions.update",
		r.GetCryptoKeyVersion().GetName(),
		func(v *kmspb.CryptoKeyVersion) error {
			// A version that is pending or destroyed cannot be enabled.
			if st := v.GetState(); st != kmspb.CryptoKeyVersion_ENABLED && st != kmspb.CryptoKeyVersion_DISABLED {
				return status.Errorf(
					codes.FailedPrecondition,
					"%s cannot be updated, current state is: %v.",
					v.GetName(),
					st,
				)
			}
			v.State = want
			return nil
		},
	)
}

func (s kmsService) DestroyCryptoKeyVersion(
	ctx context.Context,
	r *kmspb.DestroyCryptoKeyVersionRequest,
) (*kmspb.CryptoKeyVersion, error) {
	// The key says how long a destruction can be undone.
	after := destroyAfter
	if name, _, ok := strings.Cut(r.GetName(), "/cryptoKeyVersions/"); ok {
		s.store.mu.RLock()
		if row, ok := s.store.get(tableKeys, name); ok {
			if d := decode[kmspb.CryptoKey](row).GetDestroyScheduledDuration(); d != nil {
				after = d.AsDuration()
			}
		}
		s.store.mu.RUnlock()
	}

	const permission = "cloudkms.cryptoKeyVersions.destroy"

	return s.changeVersion(ctx, permission, r.GetName(), func(v *kmspb.CryptoKeyVersion) error {
		// Cloud KMS, "Key version states": a destroyed or scheduled version takes no
		// second schedule.
		if st := v.GetState(); st == kmspb.CryptoKeyVersion_DESTROYED ||
			st == kmspb.CryptoKeyVersion_DESTROY_SCHEDULED {
			return status.Errorf(
				codes.FailedPrecondition,
				"%s cannot be destroyed, current state is: %v.",
				v.GetName(),
				st,
			)
		}
		v.State, v.DestroyTime = kmspb.CryptoKeyVersion_DESTROY_SCHEDULED, timestamppb.New(s.now().Add(after))
		return nil
	})
}

func (s kmsService) RestoreCryptoKeyVersion(
	ctx context.Context,
	r *kmspb.RestoreCryptoKeyVersionRequest,
) (*kmspb.CryptoKeyVersion, error) {
	const permission = "cloudkms.cryptoKeyVersions.restore"

	return s.changeVersion(ctx, permission, r.GetName(), func(v *kmspb.CryptoKeyVersion) error {
		// Only a scheduled version can be restored, and it comes back disabled.
		if st := v.GetState(); st != kmspb.CryptoKeyVersion_DESTROY_SCHEDULED {
			return status.Errorf(
				codes.FailedPrecondition,
				"%s cannot be restored, current state is: %v.",
				v.GetName(),
				st,
			)
		}
		v.State, v.DestroyTime = kmspb.CryptoKeyVersion_DISABLED, nil
		return nil
	})
}
