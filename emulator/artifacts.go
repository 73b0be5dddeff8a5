package emulator

import (
	"context"
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	registrypb "cloud.google.com/go/artifactregistry/apiv1/artifactregistrypb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// artifactNames are the shapes of Artifact Registry's names. A package's slashes are escaped over gRPC and, once the
// transcoder has read a path, not any more over REST: both are taken.
type artifactNames struct{ repository, image, pkg, version, tag *regexp.Regexp }

func newArtifactNames() artifactNames {
	const repository = `^projects/((?:[a-z0-9.-]+:)?[^/:]+)/locations/([a-z0-9-]+)/repositories/([a-z0-9-]+)`
	return artifactNames{
		repository: regexp.MustCompile(repository + `$`),
		image:      regexp.MustCompile(repository + `/dockerImages/([^@]+)@(sha256:[0-9a-f]{64})$`),
		pkg:        regexp.MustCompile(repository + `/packages/(.+)$`),
		version:    regexp.MustCompile(repository + `/packages/(.+)/versions/(sha256:[0-9a-f]{64})$`),
		tag:        regexp.MustCompile(repository + `/packages/(.+)/tags/([A-Za-z0-9_.~:@-]+)$`),
	}
}

// artifact reads a name of one of the shapes: the repository, the package and the last part, where the shape has them.
func artifact(re *regexp.Regexp, field, name string) (r imageRepository, pkg, last string, err error) {
	m := re.FindStringSubmatch(name)
	if len(name) > 2048 || m == nil {
		return r, "", "", invalid(field, "invalid resource name "+strconv.Quote(name))
	}
	m = append(m, "", "")
	unescape := strings.NewReplacer("%2F", "/", "%2f", "/")
	return imageRepository{project: m[1], location: m[2], id: m[3]}, unescape.Replace(m[4]), m[5], nil
}

// GetRepository answers for any name: the emulator makes no repositories, and every one is there.
func (s artifactService) GetRepository(
	ctx context.Context,
	r *registrypb.GetRepositoryRequest,
) (*registrypb.Repository, error) {
	repository, _, _, err := artifact(s.artifacts.repository, "name", r.GetName())
	if err != nil {
		return nil, err
	}
	if err := s.require(ctx, "artifactregistry.repositories.get", r.GetName()); err != nil {
		return nil, err
	}
	return repositoryMessage(repository), nil
}

func repositoryMessage(r imageRepository) *registrypb.Repository {
	return &registrypb.Repository{Name: r.name(), Format: registrypb.Repository_DOCKER}
}

// ListRepositories lists those of a location that have an image.
func (s artifactService) ListRepositories(
	ctx context.Context,
	r *registrypb.ListRepositoriesRequest,
) (*registrypb.ListRepositoriesResponse, error) {
	if err := checkName(s.names.location, "parent", r.GetParent()); err != nil {
		return nil, err
	}
	if err := s.require(ctx, "artifactregistry.repositories.list", r.GetParent()); err != nil {
		return nil, err
	}

	project, location := projectOf(r.GetParent()), lastSegment(r.GetParent())
	ids, err := s.repositories(ctx, project, location)
	if err != nil {
		return nil, err
	}
	out, next, err := slicePage(ids, "repositories\n"+r.GetParent(), r.GetPageSize(), r.GetPageToken())
	if err != nil {
		return nil, err
	}

	list := &registrypb.ListRepositoriesResponse{NextPageToken: next}
	for _, id := range out {
		list.Repositories = append(list.Repositories, repositoryMessage(imageRepository{project, location, id}))
	}
	return list, nil
}

// repositories are the ids of the repositories with an image, sorted.
func (e *Emulator) repositories(ctx context.Context, project, location string) ([]string, error) {
	found := map[string]bool{}
	names, err := e.registryNames(ctx)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if parts := strings.SplitN(name, "/", 3); len(parts) == 3 && parts[0] == project {
			found[parts[1]] = true
		}
	}

	e.store.mu.RLock()
	defer e.store.mu.RUnlock()
	prefix := imageRepository{location: location}.host() + "/" + project + "/"
	for _, row := range e.store.list(tableOccurrences, "projects/"+project).after(0) {
		path, ok := strings.CutPrefix(strings.TrimPrefix(row.occ.resource, "https://"), prefix)
		if id, _, more := strings.Cut(path, "/"); ok && more && !row.dead {
			found[id] = true
		}
	}

	out := make([]string, 0, len(found))
	for id := range found {
		out = append(out, id)
	}
	slices.Sort(out)
	return out, nil
}

func (s artifactService) ListDockerImages(
	ctx context.Context,
	r *registrypb.ListDockerImagesRequest,
) (*registrypb.ListDockerImagesResponse, error) {
	repository, _, _, err := artifact(s.artifacts.repository, "parent", r.GetParent())
	if err != nil {
		return nil, err
	}
	if err := s.require(ctx, "artifactregistry.dockerimages.list", r.GetParent()); err != nil {
		return nil, err
	}

	all, err := s.images(ctx, repository)
	if err != nil {
		return nil, err
	}
	out, next, err := slicePage(all, "images\n"+r.GetParent(), r.GetPageSize(), r.GetPageToken())
	if err != nil {
		return nil, err
	}

	list := &registrypb.ListDockerImagesResponse{NextPageToken: next}
	for _, i := range out {
		list.DockerImages = append(list.DockerImages, imageMessage(i))
	}
	return list, nil
}

func (s artifactService) GetDockerImage(
	ctx context.Context,
	r *registrypb.GetDockerImageRequest,
) (*registrypb.DockerImage, error) {
	repository, pkg, digest, err := artifact(s.artifacts.image, "name", r.GetName())
	if err != nil {
		return nil, err
	}
	if err := s.require(ctx, "artifactregistry.dockerimages.get", r.GetName()); err != nil {
		return nil, err
	}

	i, err := s.image(ctx, repository, pkg, digest)
	if err != nil {
		return nil, err
	}
	return imageMessage(i), nil
}

// image is one image by its digest. Without a registry every digest is there: gcloud asks for the version before it
// asks Container Analysis for what is known about it.
func (e *Emulator) image(ctx context.Context, r imageRepository, pkg, digest string) (image, error) {
	all, err := e.images(ctx, r)
	if err != nil {
		return image{}, err
	}
	for _, i := range all {
		if i.pkg == pkg && i.digest == digest {
			return i, nil
		}
	}

	i := image{repository: r, pkg: pkg, digest: digest}
	if e.registry == nil {
		return i, nil
	}
	found, ok, err := e.registryImage(ctx, r, pkg, digest)
	if err != nil {
		return image{}, err
	}
	if !ok {
		return image{}, notFound("Version %s not found.", i.versionName())
	}
	return found, nil
}

func imageMessage(i image) *registrypb.DockerImage {
	at := moment(i.uploaded)
	return &registrypb.DockerImage{
		Name: i.repository.name() + "/dockerImages/" + strings.ReplaceAll(i.pkg, "/", "%2F") + "@" + i.digest,
		Uri:  i.uri(), Tags: i.tags, ImageSizeBytes: i.size, MediaType: i.mediaType, UploadTime: at, UpdateTime: at,
	}
}

func moment(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func (s artifactService) ListPackages(
	ctx context.Context,
	r *registrypb.ListPackagesRequest,
) (*registrypb.ListPackagesResponse, error) {
	repository, _, _, err := artifact(s.artifacts.repository, "parent", r.GetParent())
	if err != nil {
		return nil, err
	}
	if err := s.require(ctx, "artifactregistry.packages.list", r.GetParent()); err != nil {
		return nil, err
	}

	all, err := s.images(ctx, repository)
	if err != nil {
		return nil, err
	}
	// They are in order of their packages.
	all = slices.CompactFunc(all, func(a, b image) bool { return a.pkg == b.pkg })
	out, next, err := slicePage(all, "packages\n"+r.GetParent(), r.GetPageSize(), r.GetPageToken())
	if err != nil {
		return nil, err
	}

	list := &registrypb.ListPackagesResponse{NextPageToken: next}
	for _, i := range out {
		list.Packages = append(list.Packages, &registrypb.Package{Name: i.packageName()})
	}
	return list, nil
}

func (s artifactService) ListVersions(
	ctx context.Context,
	r *registrypb.ListVersionsRequest,
) (*registrypb.ListVersionsResponse, error) {
	if err := s.require(ctx, "artifactregistry.versions.list", r.GetParent()); err != nil {
		return nil, err
	}
	all, err := s.packageImages(ctx, r.GetParent())
	if err != nil {
		return nil, err
	}

	n, err := dialect{compile: compileArtifact("name")}.parse(r.GetFilter())
	if err != nil {
		return nil, err
	}
	var versions []*registrypb.Version
	for _, i := range all {
		v, err := versionMessage(i)
		if err != nil {
			return nil, err
		}
		// google.devtools.artifactregistry.v1.VersionView: BASIC "Includes basic information about the version, but not
		// any related tags."
		if r.GetView() != registrypb.VersionView_FULL {
			v.RelatedTags = nil
		}
		if matches(n, &occView{other: v.ProtoReflect()}) {
			versions = append(versions, v)
		}
	}

	scope := strings.Join([]string{"versions", r.GetParent(), r.GetFilter()}, "\n")
	out, next, err := slicePage(versions, scope, r.GetPageSize(), r.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &registrypb.ListVersionsResponse{Versions: out, NextPageToken: next}, nil
}

// packageImages are the images of a package; NOT_FOUND where there is none.
func (e *Emulator) packageImages(ctx context.Context, name string) ([]image, error) {
	r, pkg, _, err := artifact(e.artifacts.pkg, "parent", name)
	if err != nil {
		return nil, err
	}

	all, err := e.images(ctx, r)
	if err != nil {
		return nil, err
	}

	all = slices.DeleteFunc(all, func(i image) bool { return i.pkg != pkg })
	if len(all) == 0 {
		return nil, notFound("Package %s not found.", name)
	}

	return all, nil
}

func (s artifactService) GetVersion(
	ctx context.Context,
	r *registrypb.GetVersionRequest,
) (*registrypb.Version, error) {
	repository, pkg, digest, err := artifact(s.artifacts.version, "name", r.GetName())
	if err != nil {
		return nil, notFound("Version %s not found.", r.GetName()) // a name that no version can have
	}
	if err := s.require(ctx, "artifactregistry.versions.get", r.GetName()); err != nil {
		return nil, err
	}

	i, err := s.image(ctx, repository, pkg, digest)
	if err != nil {
		return nil, err
	}
	return versionMessage(i)
}

// versionMessage is an image as a version. google.devtools.artifactregistry.v1.DockerImage says which of its fields are
// "returned as the 'metadata.imageSizeBytes' field in the Version resource".
func versionMessage(i image) (*registrypb.Version, error) {
	metadata, err := structpb.NewStruct(map[string]any{
		"name": i.uri(), "imageSizeBytes": strconv.FormatInt(i.size, 10), "mediaType": i.mediaType,
	})
	if err != nil {
		return nil, errInternal("describing %s: %v", i.uri(), err)
	}
	at := moment(i.uploaded)
	out := &registrypb.Version{Name: i.versionName(), Metadata: metadata, CreateTime: at, UpdateTime: at}
	for _, t := range i.tags {
		out.RelatedTags = append(out.RelatedTags, tagMessage(i, t))
	}
	return out, nil
}

func tagMessage(i image, tag string) *registrypb.Tag {
	return &registrypb.Tag{Name: i.packageName() + "/tags/" + tag, Version: i.versionName()}
}

func (s artifactService) ListTags(
	ctx context.Context,
	r *registrypb.ListTagsRequest,
) (*registrypb.ListTagsResponse, error) {
	if err := s.require(ctx, "artifactregistry.tags.list", r.GetParent()); err != nil {
		return nil, err
	}
	all, err := s.packageImages(ctx, r.GetParent())
	if err != nil {
		return nil, err
	}
	n, err := dialect{compile: compileArtifact("name", "version")}.parse(r.GetFilter())
	if err != nil {
		return nil, err
	}

	var tags []*registrypb.Tag
	for _, i := range all {
		for _, t := range i.tags {
			if m := tagMessage(i, t); matches(n, &occView{other: m.ProtoReflect()}) {
				tags = append(tags, m)
			}
		}
	}
	slices.SortFunc(tags, func(a, b *registrypb.Tag) int { return strings.Compare(a.GetName(), b.GetName()) })
	scope := strings.Join([]string{"tags", r.GetParent(), r.GetFilter()}, "\n")
	out, next, err := slicePage(tags, scope, r.GetPageSize(), r.GetPageToken())
	if err != nil {
		return nil, err
	}
	return &registrypb.ListTagsResponse{Tags: out, NextPageToken: next}, nil
}

func (s artifactService) GetTag(ctx context.Context, r *registrypb.GetTagRequest) (*registrypb.Tag, error) {
	repository, pkg, tag, err := artifact(s.artifacts.tag, "name", r.GetName())
	if err != nil {
		return nil, err
	}
	if err := s.require(ctx, "artifactregistry.tags.get", r.GetName()); err != nil {
		return nil, err
	}

	if s.registry == nil {
		const msg = "The emulator has no registry and keeps no tags: name the image by its digest. %s"
		return nil, notFound(msg, r.GetName())
	}
	i, ok, err := s.registryImage(ctx, repository, pkg, tag)
	if err != nil {
		return nil, err
	}
	if !ok || strings.HasPrefix(tag, "sha256:") {
		return nil, notFound("Tag %s not found.", r.GetName())
	}
	return tagMessage(i, tag), nil
}

func (s artifactService) CreateTag(ctx context.Context, r *registrypb.CreateTagRequest) (*registrypb.Tag, error) {
	name := r.GetParent() + "/tags/" + r.GetTagId()
	if err := s.require(ctx, "artifactregistry.tags.create", r.GetParent()); err != nil {
		return nil, err
	}
	if _, err := s.GetTag(ctx, &registrypb.GetTagRequest{Name: name}); status.Code(err) == codes.OK {
		return nil, alreadyExists(name, "Tag "+name+" already exists.")
	}
	return s.setTag(ctx, name, r.GetTag())
}

func (s artifactService) UpdateTag(ctx context.Context, r *registrypb.UpdateTagRequest) (*registrypb.Tag, error) {
	name := r.GetTag().GetName()
	if err := s.require(ctx, "artifactregistry.tags.update", name); err != nil {
		return nil, err
	}
	if _, err := s.GetTag(ctx, &registrypb.GetTagRequest{Name: name}); err != nil {
		return nil, err
	}
	return s.setTag(ctx, name, r.GetTag())
}

func (s artifactService) setTag(ctx context.Context, name string, t *registrypb.Tag) (*registrypb.Tag, error) {
	repository, pkg, tag, err := artifact(s.artifacts.tag, "tag.name", name)
	if err != nil {
		return nil, err
	}
	of, versionPkg, digest, err := artifact(s.artifacts.version, "tag.version", t.GetVersion())
	if err != nil {
		return nil, err
	}

	switch {
	case of != repository || versionPkg != pkg:
		return nil, invalid("tag.version", "the version is not of the tag's package")
	case s.registry == nil:
		return nil, status.Error(codes.FailedPrecondition, "the emulator has no registry and keeps no tags")
	}
	i := image{repository: repository, pkg: pkg, digest: digest}
	if err := s.putTag(ctx, i, tag); err != nil {
		return nil, err
	}
	return tagMessage(i, tag), nil
}

func (s artifactService) DeleteTag(ctx context.Context, r *registrypb.DeleteTagRequest) (*emptypb.Empty, error) {
	if err := s.require(ctx, "artifactregistry.tags.delete", r.GetName()); err != nil {
		return nil, err
	}
	if _, err := s.GetTag(ctx, &registrypb.GetTagRequest{Name: r.GetName()}); err != nil {
		return nil, err
	}

	repository, pkg, tag, err := artifact(s.artifacts.tag, "name", r.GetName())
	if err != nil {
		return nil, err
	}

	var answer []byte
	_, err = s.askRegistry(ctx, http.MethodDelete, manifestPath(repository, pkg, tag), &answer)
	return &emptypb.Empty{}, err
}

// compileArtifact type-checks a filter of Artifact Registry. google.devtools.artifactregistry.v1.ListTagsRequest:
// "Filter rules are case insensitive", and wildcards "match any number of characters before or after the value".
func compileArtifact(fields ...string) func(field, op, literal string) (node, error) {
	return func(field, op, literal string) (node, error) {
		if !slices.Contains(fields, field) || op != "=" {
			return nil, filterError("want %s = VALUE, got %s %s", strings.Join(fields, " or "), field, op)
		}
		want := strings.ReplaceAll(regexp.QuoteMeta(strings.ReplaceAll(literal, "%2F", "/")), `\*`, ".*")
		re, err := regexp.Compile(`(?i)^` + want + `$`)
		if err != nil {
			return nil, filterError("%q is not a value", literal)
		}
		return testNode{field: field, op: op, literal: literal, test: func(v *occView) bool {
			m := v.reflect()
			text := m.Get(m.Descriptor().Fields().ByTextName(field)).String()
			return re.MatchString(strings.ReplaceAll(text, "%2F", "/"))
		}}, nil
	}
}

// slicePage is a page of a list that is made anew for each request; its cursor counts entries.
func slicePage[T any](all []T, scope string, size int32, token string) ([]T, string, error) {
	limit, err := pageSize(size)
	if err != nil {
		return nil, "", err
	}
	cur, err := parseCursor(token, scope)
	if err != nil {
		return nil, "", err
	}

	start := min(int(min(cur.after, maxObjects)), len(all))
	end := min(start+limit, len(all))
	if end == len(all) {
		return all[start:], "", nil
	}
	return all[start:end], cursor{after: uint64(end)}.token(scope), nil //nolint:gosec // an index is not negative
}
