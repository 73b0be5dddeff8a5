package emulator

import (
	registrypb "cloud.google.com/go/artifactregistry/apiv1/artifactregistrypb"
	binauthzpb "cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	binauthzbetapb "cloud.google.com/go/binaryauthorization/apiv1beta1/binaryauthorizationpb"
	"cloud.google.com/go/iam/apiv1/iampb"
	"cloud.google.com/go/kms/apiv1/kmspb"
	locationpb "google.golang.org/genproto/googleapis/cloud/location"
	analysispb "google.golang.org/genproto/googleapis/devtools/containeranalysis/v1"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc"
)

// The services, one type each. What they leave out answers UNIMPLEMENTED.
type (
	grafeasService struct {
		grafeaspb.UnimplementedGrafeasServer
		*Emulator
	}
	analysisService struct {
		analysispb.UnimplementedContainerAnalysisServer
		*Emulator
	}
	kmsService struct {
		kmspb.UnimplementedKeyManagementServiceServer
		*Emulator
	}
	iamService struct {
		iampb.UnimplementedIAMPolicyServer
		*Emulator
	}
	binauthzService struct {
		binauthzpb.UnimplementedBinauthzManagementServiceV1Server
		*Emulator
	}
	systemPolicyService struct {
		binauthzpb.UnimplementedSystemPolicyV1Server
		*Emulator
	}
	validationService struct {
		binauthzpb.UnimplementedValidationHelperV1Server
		*Emulator
	}
	artifactService struct {
		registrypb.UnimplementedArtifactRegistryServer
		*Emulator
	}
	locationService struct {
		locationpb.UnimplementedLocationsServer
		*Emulator
	}
	binauthzBetaService struct {
		binauthzbetapb.UnimplementedBinauthzManagementServiceV1Beta1Server
		binauthz binauthzService
	}
)

func (e *Emulator) register(s *grpc.Server) {
	binauthz := binauthzService{Emulator: e}
	grafeaspb.RegisterGrafeasServer(s, &grafeasService{Emulator: e})
	analysispb.RegisterContainerAnalysisServer(s, &analysisService{Emulator: e})
	kmspb.RegisterKeyManagementServiceServer(s, kmsService{Emulator: e})
	iampb.RegisterIAMPolicyServer(s, iamService{Emulator: e})
	registrypb.RegisterArtifactRegistryServer(s, artifactService{Emulator: e})
	locationpb.RegisterLocationsServer(s, locationService{Emulator: e})
	binauthzpb.RegisterBinauthzManagementServiceV1Server(s, binauthz)
	binauthzpb.RegisterSystemPolicyV1Server(s, systemPolicyService{Emulator: e})
	binauthzpb.RegisterValidationHelperV1Server(s, validationService{Emulator: e})
	binauthzbetapb.RegisterBinauthzManagementServiceV1Beta1Server(s, binauthzBetaService{binauthz: binauthz})
}
