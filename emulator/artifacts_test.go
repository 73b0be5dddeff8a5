package emulator_test

import (
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	artifactregistry "cloud.google.com/go/artifactregistry/apiv1"
	registrypb "cloud.google.com/go/artifactregistry/apiv1/artifactregistrypb"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"google.golang.org/api/option"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc/codes"

	"github.com/attestor-gate/attestor/emulator"
	"github.com/attestor-gate/attestor/internal/ociregistry"
)

const repository = "projects/acme/locations/us/repositories/prod"

// withRegistry is an emulator over a registry with acme/prod/api:v1 and :v2, one image, and acme/prod/team/web:v1.
func withRegistry(t *testing.T) (google, *artifactregistry.Client, map[string]string) {
	t.Helper()
	registry, err := ociregistry.New("")
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(registry)
	t.Cleanup(srv.Close)

	digests := map[string]string{}
	for pkg, tags := range map[string][]string{"acme/prod/api": {"v1", "v2"}, "acme/prod/team/web": {"v1"}, "other/prod/api": {"v1"}, "short": {"v1"}} {
		img, err := random.Image(50, 2)
		if err != nil {
			t.Fatal(err)
		}
		digest, err := img.Digest()
		if err != nil {
			t.Fatal(err)
		}
		digests[pkg] = digest.String()
		for _, tag := range tags {
			ref, err := name.NewTag(strings.TrimPrefix(srv.URL, "http://") + "/" + pkg + ":" + tag)
			if err != nil {
				t.Fatal(err)
			}
			if err := remote.Write(ref, img); err != nil {
				t.Fatal(err)
			}
		}
	}

	g := newGoogle(t, emulator.Options{Registry: registry})
	c, err := artifactregistry.NewClient(t.Context(), option.WithGRPCConn(g.Conn()))
	if err != nil {
		t.Fatal(err)
	}
	return g, c, digests
}

func TestArtifactRegistryOverARegistry(t *testing.T) {
	_, c, digests := withRegistry(t)
	ctx := ctxFor(t)

	r, err := c.ListRepositories(ctx, &registrypb.ListRepositoriesRequest{Parent: "projects/acme/locations/us"}).Next()
	if err != nil || r.GetName() != repository || r.GetFormat() != registrypb.Repository_DOCKER {
		t.Errorf("repositories: %v, %v", r, err)
	}

	var uris []string
	for it := c.ListDockerImages(ctx, &registrypb.ListDockerImagesRequest{Parent: repository, PageSize: 1}); ; {
		i, err := it.Next()
		if err != nil {
			break
		}
		uris = append(uris, i.GetUri())
		if i.GetUploadTime() == nil || i.GetImageSizeBytes() == 0 || i.GetMediaType() == "" {
			t.Errorf("%s lacks what the manifest says: %v", i.GetUri(), i)
		}
		if strings.Contains(i.GetUri(), "/api@") && strings.Join(i.GetTags(), " ") != "v1 v2" {
			t.Errorf("tags of api: %v", i.GetTags())
		}
	}
	want := "us-docker.pkg.dev/acme/prod/api@" + digests["acme/prod/api"] + " us-docker.pkg.dev/acme/prod/team/web@" + digests["acme/prod/team/web"]
	if got := strings.Join(uris, " "); got != want {
		t.Errorf("images %s, want %s", got, want)
	}

	api := repository + "/packages/api"
	tag := must[*registrypb.Tag](t)(c.GetTag(ctx, &registrypb.GetTagRequest{Name: api + "/tags/v1"}))
	if tag.GetVersion() != api+"/versions/"+digests["acme/prod/api"] {
		t.Errorf("v1 is %s", tag.GetVersion())
	}

	// The name of a package with a slash, as the API writes and as it is unescaped.
	for _, web := range []string{"/packages/team%2Fweb", "/packages/team/web"} {
		v := must[*registrypb.Version](t)(c.GetVersion(ctx,
			&registrypb.GetVersionRequest{Name: repository + web + "/versions/" + digests["acme/prod/team/web"]}))
		if !strings.Contains(v.GetName(), "team%2Fweb") {
			t.Errorf("a package's slash is not escaped in %s", v.GetName())
		}
	}
	for _, missing := range []string{api + "/versions/" + digestA, repository + "/packages/none/versions/" + digests["acme/prod/api"], api + "/versions/1.0"} {
		_, err := c.GetVersion(ctx, &registrypb.GetVersionRequest{Name: missing})
		wantCode(t, err, codes.NotFound)
	}
	_, err = c.GetTag(ctx, &registrypb.GetTagRequest{Name: api + "/tags/v3"})
	wantCode(t, err, codes.NotFound)
	_, err = c.ListTags(ctx, &registrypb.ListTagsRequest{Parent: repository + "/packages/none"}).Next()
	wantCode(t, err, codes.NotFound)
}

func TestArtifactRegistryTags(t *testing.T) {
	_, c, digests := withRegistry(t)
	ctx := ctxFor(t)
	api := repository + "/packages/api"
	version := api + "/versions/" + digests["acme/prod/api"]

	must[*registrypb.Tag](t)(c.CreateTag(ctx, &registrypb.CreateTagRequest{Parent: api, TagId: "stable", Tag: &registrypb.Tag{Version: version}}))
	_, err := c.CreateTag(ctx, &registrypb.CreateTagRequest{Parent: api, TagId: "stable", Tag: &registrypb.Tag{Version: version}})
	wantCode(t, err, codes.AlreadyExists)
	_, err = c.CreateTag(ctx, &registrypb.CreateTagRequest{Parent: api, TagId: "gone", Tag: &registrypb.Tag{Version: api + "/versions/" + digestA}})
	wantCode(t, err, codes.NotFound)
	_, err = c.CreateTag(ctx, &registrypb.CreateTagRequest{Parent: api, TagId: "web", Tag: &registrypb.Tag{
		Version: repository + "/packages/team%2Fweb/versions/" + digests["acme/prod/team/web"]}})
	wantCode(t, err, codes.InvalidArgument)

	tags := func(filter string) string {
		var out []string
		for it := c.ListTags(ctx, &registrypb.ListTagsRequest{Parent: api, Filter: filter, PageSize: 2}); ; {
			tag, err := it.Next()
			if err != nil {
				return strings.Join(out, " ")
			}
			out = append(out, tag.GetName()[len(api+"/tags/"):])
		}
	}
	for filter, want := range map[string]string{
		"":                                  "stable v1 v2",
		`name="` + api + `/tags/v*"`:        "v1 v2",
		`name="` + api + `/tags/STABLE"`:    "stable",
		`version="` + version + `"`:         "stable v1 v2",
		`version="` + api + `/versions/1*"`: "",
	} {
		if got := tags(filter); got != want {
			t.Errorf("filter %s: %q, want %q", filter, got, want)
		}
	}
	_, err = c.ListTags(ctx, &registrypb.ListTagsRequest{Parent: api, Filter: `labels="x"`}).Next()
	wantCode(t, err, codes.InvalidArgument)

	if err := c.DeleteTag(ctx, &registrypb.DeleteTagRequest{Name: api + "/tags/stable"}); err != nil {
		t.Fatal(err)
	}
	wantCode(t, c.DeleteTag(ctx, &registrypb.DeleteTagRequest{Name: api + "/tags/stable"}), codes.NotFound)
	if got := tags(""); got != "v1 v2" {
		t.Errorf("after deleting: %q", got)
	}
}

// TestArtifactRegistryOverREST: packages with a slash, as gcloud escapes them.
func TestArtifactRegistryOverREST(t *testing.T) {
	g, _, digests := withRegistry(t)
	base := "http://" + serve(t, g.Emulator) + "/v1/" + repository
	for path, want := range map[string]string{
		"/packages/team%2Fweb/tags/v1":                                   digests["acme/prod/team/web"],
		"/packages/team%2Fweb/tags":                                      "team%2Fweb/tags/v1",
		"/packages/team%2Fweb/versions/" + digests["acme/prod/team/web"]: `"imageSizeBytes"`,
		"/packages/api/versions?view=FULL":                               "relatedTags",
		"/packages":                                                      "packages/team%2Fweb",
		"/dockerImages/team%2Fweb@" + url.PathEscape(digests["acme/prod/team/web"]): "uploadTime",
		"": "DOCKER",
	} {
		if got, answer := send(t, "GET", base+path, ""); got != 200 || !strings.Contains(answer, want) {
			t.Errorf("%s: %d %s, want %q", path, got, answer, want)
		}
	}
}

// TestArtifactRegistryWithoutARegistry: images are those of occurrences, since when they were first written, and tags
// are refused rather than invented.
func TestArtifactRegistryWithoutARegistry(t *testing.T) {
	g := newGoogle(t, emulator.Options{})
	ctx := ctxFor(t)
	made := must[*grafeaspb.Occurrence](t)(g.Grafeas.CreateOccurrence(ctx,
		&grafeaspb.CreateOccurrenceRequest{Parent: "projects/p", Occurrence: discovery("https://" + imageA)}))
	c, err := artifactregistry.NewClient(ctx, option.WithGRPCConn(g.Conn()))
	if err != nil {
		t.Fatal(err)
	}

	const r = "projects/p/locations/us/repositories/r"
	i := must[*registrypb.DockerImage](t)(c.ListDockerImages(ctx, &registrypb.ListDockerImagesRequest{Parent: r}).Next())
	if i.GetUri() != imageA || !i.GetUploadTime().AsTime().Equal(made.GetCreateTime().AsTime()) {
		t.Errorf("image %v, want %s of %v", i, imageA, made.GetCreateTime().AsTime())
	}
	_, err = c.GetTag(ctx, &registrypb.GetTagRequest{Name: r + "/packages/app/tags/latest"})
	wantCode(t, err, codes.NotFound)
	_, err = c.CreateTag(ctx, &registrypb.CreateTagRequest{Parent: r + "/packages/app", TagId: "x",
		Tag: &registrypb.Tag{Version: r + "/packages/app/versions/" + digestA}})
	wantCode(t, err, codes.FailedPrecondition)
}
