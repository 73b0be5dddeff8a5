package emulator

import (
	"context"

	binauthzpb "cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	betapb "cloud.google.com/go/binaryauthorization/apiv1beta1/binaryauthorizationpb"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
)

// v1beta1 differs from v1 in the name of one field; gcloud's beta commands
// read attestors through it.

func (s binauthzBetaService) GetAttestor(ctx context.Context, r *betapb.GetAttestorRequest) (*betapb.Attestor, error) {
	return betaAttestor(s.binauthz.GetAttestor(ctx, &binauthzpb.GetAttestorRequest{Name: r.GetName()}))
}

func (s binauthzBetaService) CreateAttestor(
	ctx context.Context,
	r *betapb.CreateAttestorRequest,
) (*betapb.Attestor, error) {
	a, err := stableAttestor(r.GetAttestor())
	if err != nil {
		return nil, err
	}
	return betaAttestor(
		s.binauthz.CreateAttestor(
			ctx,
			&binauthzpb.CreateAttestorRequest{Parent: r.GetParent(), AttestorId: r.GetAttestorId(), Attestor: a},
		),
	)
}

func (s binauthzBetaService) UpdateAttestor(
	ctx context.Context,
	r *betapb.UpdateAttestorRequest,
) (*betapb.Attestor, error) {
	a, err := stableAttestor(r.GetAttestor())
	if err != nil {
		return nil, err
	}
	return betaAttestor(s.binauthz.UpdateAttestor(ctx, &binauthzpb.UpdateAttestorRequest{Attestor: a}))
}

func (s binauthzBetaService) ListAttestors(
	ctx context.Context,
	r *betapb.ListAttestorsRequest,
) (*betapb.ListAttestorsResponse, error) {
	l, err := s.binauthz.ListAttestors(
		ctx,
		&binauthzpb.ListAttestorsRequest{Parent: r.GetParent(), PageSize: r.GetPageSize(), PageToken: r.GetPageToken()},
	)
	if err != nil {
		return nil, err
	}

	out := &betapb.ListAttestorsResponse{NextPageToken: l.GetNextPageToken()}
	for _, a := range l.GetAttestors() {
		b, err := betaAttestor(a, nil)
		if err != nil {
			return nil, err
		}
		out.Attestors = append(out.Attestors, b)
	}
	return out, nil
}

func (s binauthzBetaService) DeleteAttestor(
	ctx context.Context,
	r *betapb.DeleteAttestorRequest,
) (*emptypb.Empty, error) {
	return s.binauthz.DeleteAttestor(ctx, &binauthzpb.DeleteAttestorRequest{Name: r.GetName()})
}

func betaAttestor(a *binauthzpb.Attestor, err error) (*betapb.Attestor, error) {
	if err != nil {
		return nil, err
	}
	note := &betapb.UserOwnedDrydockNote{}
	if err := recode(a.GetUserOwnedGrafeasNote(), note); err != nil {
		return nil, err
	}

	return &betapb.Attestor{
		Name: a.GetName(), Description: a.GetDescription(), UpdateTime: a.GetUpdateTime(),
		AttestorType: &betapb.Attestor_UserOwnedDrydockNote{UserOwnedDrydockNote: note},
	}, nil
}

func stableAttestor(a *betapb.Attestor) (*binauthzpb.Attestor, error) {
	out := &binauthzpb.Attestor{Name: a.GetName(), Description: a.GetDescription()}
	if a.GetUserOwnedDrydockNote() == nil {
		return out, nil // refused by v1
	}
	note := &binauthzpb.UserOwnedGrafeasNote{}
	if err := recode(a.GetUserOwnedDrydockNote(), note); err != nil {
		return nil, err
	}
	out.AttestorType = &binauthzpb.Attestor_UserOwnedGrafeasNote{UserOwnedGrafeasNote: note}
	return out, nil
}

// recode copies between messages whose fields have the same numbers and types.
func recode(from, to proto.Message) error {
	if err := proto.Unmarshal(encode(from), to); err != nil {
		return errInternal("converting between v1 and v1beta1: %v", err)
	}
	return nil
}
