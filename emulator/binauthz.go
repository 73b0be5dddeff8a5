package emulator

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"net/url"
	"strings"

	binauthzpb "cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func (s binauthzService) GetAttestor(
	ctx context.Context,
	r *binauthzpb.GetAttestorRequest,
) (*binauthzpb.Attestor, error) {
	if err := checkName(s.names.attestor, "name", r.GetName()); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "binaryauthorization.attestors.get", r.GetName()); err != nil {
		return nil, err
	}
	return s.attestor(r.GetName())
}

func (e *Emulator) attestor(name string) (*binauthzpb.Attestor, error) {
	e.store.mu.RLock()
	defer e.store.mu.RUnlock()

	row, ok := e.store.get(tableAttestors, name)
	if !ok {
		return nil, notFound("Attestor %s not found.", name)
	}
	return decode[binauthzpb.Attestor](row), nil
}

func (s binauthzService) ListAttestors(
	ctx context.Context,
	r *binauthzpb.ListAttestorsRequest,
) (*binauthzpb.ListAttestorsResponse, error) {
	if err := s.require(ctx, "binaryauthorization.attestors.list", r.GetParent()); err != nil {
		return nil, err
	}
	out, next, err := objectPage[binauthzpb.Attestor](s.store, tableAttestors, objectQuery{
		parent: r.GetParent(), size: r.GetPageSize(), token: r.GetPageToken(),
	})
	return &binauthzpb.ListAttestorsResponse{Attestors: out, NextPageToken: next}, err
}

func (s binauthzService) CreateAttestor(
	ctx context.Context,
	r *binauthzpb.CreateAttestorRequest,
) (*binauthzpb.Attestor, error) {
	name := r.GetParent() + "/attestors/" + r.GetAttestorId()
	if err := checkName(s.names.attestor, "attestor_id", name); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "binaryauthorization.attestors.create", r.GetParent()); err != nil {
		return nil, err
	}

	if n := r.GetAttestor().GetName(); n != "" && n != name {
		return nil, invalid("attestor.name", fmt.Sprintf("attestor name %q does not match %q", n, name))
	}

	// Checked before the lock is taken: parsing keys takes its time.
	a, err := s.finishAttestor(name, r.GetAttestor())
	if err != nil {
		return nil, err
	}

	s.store.mu.Lock()
	defer s.store.mu.Unlock()

	if _, ok := s.store.get(tableAttestors, name); ok {
		return nil, alreadyExists(name, fmt.Sprintf("Attestor %s already exists.", name))
	}
	return a, s.store.apply(change{table: tableAttestors, name: name, data: encode(a)})
}

// UpdateAttestor replaces the whole attestor. The note is immutable.
func (s binauthzService) UpdateAttestor(
	ctx context.Context,
	r *binauthzpb.UpdateAttestorRequest,
) (*binauthzpb.Attestor, error) {
	name := r.GetAttestor().GetName()
	if err := checkName(s.names.attestor, "attestor.name", name); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "binaryauthorization.attestors.update", name); err != nil {
		return nil, err
	}

	a, err := s.finishAttestor(name, r.GetAttestor())
	if err != nil {
		return nil, err
	}

	// The etag is compared under the lock: of two updates from one state only one may succeed.
	s.store.mu.Lock()
	defer s.store.mu.Unlock()

	row, ok := s.store.get(tableAttestors, name)
	if !ok {
		return nil, notFound("Attestor %s not found.", name)
	}
	old := decode[binauthzpb.Attestor](row)
	if err := checkEtag(r.GetAttestor().GetEtag(), old.GetEtag()); err != nil {
		return nil, err
	}

	// Binary Authorization: the note of an attestor cannot be updated.
	if a.GetUserOwnedGrafeasNote().GetNoteReference() != old.GetUserOwnedGrafeasNote().GetNoteReference() {
		return nil, invalid("attestor.user_owned_grafeas_note.note_reference", "note_reference is immutable")
	}
	return a, s.store.apply(change{table: tableAttestors, name: name, data: encode(a)})
}

func (s binauthzService) DeleteAttestor(
	ctx context.Context,
	r *binauthzpb.DeleteAttestorRequest,
) (*emptypb.Empty, error) {
	if err := checkName(s.names.attestor, "name", r.GetName()); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "binaryauthorization.attestors.delete", r.GetName()); err != nil {
		return nil, err
	}

	s.store.mu.Lock()
	defer s.store.mu.Unlock()

	if _, ok := s.store.get(tableAttestors, r.GetName()); !ok {
		return nil, notFound("Attestor %s not found.", r.GetName())
	}
	return &emptypb.Empty{}, s.store.apply(change{table: tableAttestors, name: r.GetName()})
}

// finishAttestor checks an attestor and fills in what the service computes.
// Like the service, it does not ask whether the note exists.
func (s binauthzService) finishAttestor(name string, in *binauthzpb.Attestor) (*binauthzpb.Attestor, error) {
	if in.GetUserOwnedGrafeasNote() == nil {
		return nil, invalid("attestor.user_owned_grafeas_note", "user_owned_grafeas_note is required")
	}

	// The caller's message stays as it is.
	a := proto.CloneOf(in)
	note := a.GetUserOwnedGrafeasNote()
	const reference = "attestor.user_owned_grafeas_note.note_reference"
	if err := checkName(s.names.note, reference, note.GetNoteReference()); err != nil {
		return nil, err
	}

	// Two keys of one id would leave it open which of them verifies.
	seen := map[string]bool{}
	for _, k := range note.GetPublicKeys() {
		if err := finishKey(k); err != nil {
			return nil, err
		}
		if seen[k.GetId()] {
			return nil, invalid(
				"attestor.user_owned_grafeas_note.public_keys",
				fmt.Sprintf("public key id %q is given twice", k.GetId()),
			)
		}
		seen[k.GetId()] = true
	}

	a.Name, a.UpdateTime = name, timestamppb.New(s.now())
	note.DelegationServiceAccountEmail = "service-0@gcp-sa-binaryauthorization.iam.gserviceaccount.com"
	a.Etag = etagOf(a)
	return a, nil
}

// finishKey checks a key and gives it the id that RFC 6920 has for it if it
// has none.
func finishKey(k *binauthzpb.AttestorPublicKey) error {
	const field = "attestor.user_owned_grafeas_note.public_keys"
	if k.GetAsciiArmoredPgpPublicKey() != "" {
		return status.Error(codes.Unimplemented, "the emulator knows PKIX public keys only, not PGP ones")
	}
	if k.GetPkixPublicKey() == nil {
		return invalid(field, "a public key is required")
	}

	alg := k.GetPkixPublicKey().GetSignatureAlgorithm()
	if _, ok := pkixAlgorithm(alg); !ok {
		return invalid(field, fmt.Sprintf("unsupported signature algorithm %v", alg))
	}
	pub, der, err := parsePublicKey(k.GetPkixPublicKey().GetPublicKeyPem())
	if err != nil {
		return invalid(field, fmt.Sprintf("invalid public key: %v", err))
	}

	// A key that does not fit its algorithm would verify nothing.
	if a, _ := pkixAlgorithm(alg); a.fits(pub) != nil {
		return invalid(field, fmt.Sprintf("the public key does not fit %v", alg))
	}
	if k.GetId() == "" {
		sum := sha256.Sum256(der)
		k.Id = "ni:///sha-256;" + base64.RawURLEncoding.EncodeToString(sum[:])
	}

	if u, err := url.Parse(k.GetId()); err != nil || strings.ContainsAny(k.GetId(), " \t\r\n") || u.String() == "" {
		return invalid(field, fmt.Sprintf("public key id %q is not an RFC 3986 URI", k.GetId()))
	}
	return nil
}

func parsePublicKey(text string) (pub any, der []byte, err error) {
	// One block and nothing else: which of two keys is meant would be a guess.
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "PUBLIC KEY" || strings.TrimSpace(string(rest)) != "" {
		return nil, nil, fmt.Errorf("want one PEM block of type PUBLIC KEY")
	}
	pub, err = x509.ParsePKIXPublicKey(block.Bytes)
	return pub, block.Bytes, err
}

// etagOf depends on all of a message but its etag and time.
func etagOf(m proto.Message) string {
	m = proto.Clone(m)
	r := m.ProtoReflect()

	// Neither must change the etag, or reading and writing back would.
	for _, f := range []string{"etag", "update_time"} {
		if fd := r.Descriptor().Fields().ByTextName(f); fd != nil {
			r.Clear(fd)
		}
	}
	sum := sha256.Sum256(encode(m))
	return hex.EncodeToString(sum[:8])
}

// checkEtag refuses a write that was made from an older state; without an
// etag it is the caller's risk.
func checkEtag(got, current string) error {
	if got != "" && got != current {
		return status.Error(codes.Aborted, "there were concurrent changes: the etag does not match")
	}
	return nil
}
