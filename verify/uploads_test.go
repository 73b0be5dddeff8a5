package verify_test

import (
	"context"
	"errors"
	"net"
	"strings"
	"testing"
	"time"

	artifactregistry "cloud.google.com/go/artifactregistry/apiv1"
	"cloud.google.com/go/artifactregistry/apiv1/artifactregistrypb"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/attestor-gate/attestor"
	"github.com/attestor-gate/attestor/internal/testkit/contract"
	"github.com/attestor-gate/attestor/verify"
)

// registryAPI answers GetDockerImage from a map, as Artifact Registry would.
type registryAPI struct {
	artifactregistrypb.UnimplementedArtifactRegistryServer
	images map[string]*artifactregistrypb.DockerImage
}

func (r *registryAPI) GetDockerImage(_ context.Context, q *artifactregistrypb.GetDockerImageRequest) (*artifactregistrypb.DockerImage, error) {
	if strings.Contains(q.GetName(), "/secret/") {
		return nil, status.Error(codes.PermissionDenied, "no")
	}
	if img, ok := r.images[q.GetName()]; ok {
		return img, nil
	}
	return nil, status.Error(codes.NotFound, "no such image")
}

func newArtifactRegistry(t *testing.T, images map[string]*artifactregistrypb.DockerImage) *verify.ArtifactRegistry {
	t.Helper()
	lis, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}

	s := grpc.NewServer()
	artifactregistrypb.RegisterArtifactRegistryServer(s, &registryAPI{images: images})
	go func() { _ = s.Serve(lis) }()
	t.Cleanup(s.Stop)
	c, err := artifactregistry.NewClient(context.Background(), option.WithEndpoint(lis.Addr().String()),
		option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())), option.WithoutAuthentication())

	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return &verify.ArtifactRegistry{Dial: func(context.Context) (*artifactregistry.Client, error) { return c, nil }}
}

func TestArtifactRegistryUploaded(t *testing.T) {
	const d = "@sha256:0000000000000000000000000000000000000000000000000000000000000001"
	at := time.Date(2026, 10, 1, 8, 0, 0, 0, time.UTC)
	stored := func(name string, at *timestamppb.Timestamp) *artifactregistrypb.DockerImage {
		return &artifactregistrypb.DockerImage{Name: name, UploadTime: at}
	}

	names := map[string]*artifactregistrypb.DockerImage{}
	for _, n := range []string{
		"projects/acme/locations/us/repositories/prod/dockerImages/api" + d,
		"projects/acme/locations/europe-west1/repositories/prod/dockerImages/team%2Fapi" + d,
		"projects/example.com:acme/locations/us/repositories/gcr.io/dockerImages/api" + d,
		"projects/acme/locations/europe/repositories/eu.gcr.io/dockerImages/a%2Fb" + d,
	} {
		names[n] = stored(n, timestamppb.New(at))
	}

	names["projects/acme/locations/us/repositories/prod/dockerImages/undated"+d] = stored(
		"projects/acme/locations/us/repositories/prod/dockerImages/undated"+d, nil)
	names["projects/acme/locations/us/repositories/prod/dockerImages/other"+d] = stored(
		"projects/acme/locations/us/repositories/prod/dockerImages/other@sha256:02", timestamppb.New(at))
	a := newArtifactRegistry(t, names)

	for _, tt := range []struct {
		image string
		ok    bool
	}{
		{"us-docker.pkg.dev/acme/prod/api", true},
		{"europe-west1-docker.pkg.dev/acme/prod/team/api", true},
		{"gcr.io/example.com/acme/api", true},
		{"eu.gcr.io/acme/a/b", true},
		{"us-docker.pkg.dev/acme/prod/missing", false},
		{"us-docker.pkg.dev/acme/secret/api", false},
		{"us-docker.pkg.dev/acme/prod/undated", false},
		{"us-docker.pkg.dev/acme/prod/other", false},
		{"us-docker.pkg.dev/acme/prod", false},
		{"127.0.0.1:5000/acme/api", false},
		{"evil.us-docker.pkg.dev/acme/prod/api", false},
	} {
		t.Run(tt.image, func(t *testing.T) {
			img, err := attestor.ParseImage(tt.image + d)
			if err != nil {
				t.Fatal(err)
			}

			got, err := a.Uploaded(context.Background(), img)
			if tt.ok {
				if err != nil || !got.Equal(at) {
					t.Errorf("Uploaded = %v, %v; want %v", got, err, at)
				}
				return
			}
			if codeOf(err) != attestor.CodeUploadTimeUnknown {
				t.Errorf("Uploaded = %v, %v; want %s", got, err, attestor.CodeUploadTimeUnknown)
			}
		})
	}
}

func TestArtifactRegistryIsARecordOfUploadTimes(t *testing.T) {
	img, err := attestor.ParseImage("us-docker.pkg.dev/acme/prod/api@" + string(sum(nil)))
	if err != nil {
		t.Fatal(err)
	}

	at := time.Date(2026, 10, 1, 8, 0, 0, 0, time.UTC)
	name := "projects/acme/locations/us/repositories/prod/dockerImages/api@" + string(img.Digest())
	record := newArtifactRegistry(t, map[string]*artifactregistrypb.DockerImage{name: {Name: name, UploadTime: timestamppb.New(at)}})
	contract.UploadTimes(t, record, img, at)
}

func TestResolveAsksForUploadTimes(t *testing.T) {
	host := newRegistry(t, nil)
	push(t, host+"/app:1", configured(t, baseImage(t, "amd64", 1), "amd64", "1000"))
	at := time.Date(2026, 10, 1, 8, 0, 0, 0, time.UTC)

	for _, tt := range []struct {
		name    string
		uploads verify.UploadTimes
		want    []attestor.Code
	}{
		{"known", uploadsFunc(func() (time.Time, error) { return at, nil }), nil},
		{"not configured", nil, []attestor.Code{attestor.CodeUploadTimeUnknown}},
		{"zero time", uploadsFunc(func() (time.Time, error) { return time.Time{}, nil }), []attestor.Code{attestor.CodeUploadTimeUnknown}},
		{"plain error", uploadsFunc(func() (time.Time, error) { return at, context.DeadlineExceeded }), []attestor.Code{attestor.CodeUploadTimeUnknown}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			i := newInspector(t, host, func(c *config) { c.Uploads = tt.uploads })
			r, err := i.Resolve(context.Background(), parse(t, host+"/app:1"), attestor.Needs{UploadTime: true})
			if err != nil {
				t.Fatal(err)
			}

			wantCodes(t, r.Problems, tt.want...)
			if known := tt.want == nil; (r.Uploaded != nil && r.Uploaded.Equal(at)) != known {
				t.Errorf("Uploaded = %v, want known: %t", r.Uploaded, known)
			}
		})
	}
}

// uploadsFunc answers as a test wants, also as no record should.
type uploadsFunc func() (time.Time, error)

func (f uploadsFunc) Uploaded(context.Context, attestor.Image) (time.Time, error) { return f() }

// Without a client, and where Google's services are emulated, the upload time is
// not known; it is never a time that nobody recorded.
func TestArtifactRegistryThatCannotBeAsked(t *testing.T) {
	img, err := attestor.ParseImage("us-docker.pkg.dev/acme/prod/api@sha256:" + strings.Repeat("0", 64))
	if err != nil {
		t.Fatal(err)
	}

	dialled := 0
	dial := func(context.Context) (*artifactregistry.Client, error) {
		dialled++
		return nil, errors.New("no credentials")
	}

	for name, a := range map[string]*verify.ArtifactRegistry{
		"emulated":       {Dial: dial, Emulated: true},
		"no credentials": {Dial: dial},
	} {
		for range 2 {
			if at, err := a.Uploaded(t.Context(), img); codeOf(err) != attestor.CodeUploadTimeUnknown || !at.IsZero() {
				t.Errorf("%s: %v, %v", name, at, err)
			}
		}
	}

	if dialled != 1 {
		t.Errorf("dialled %d times, want once, and never where it is emulated", dialled)
	}
}
