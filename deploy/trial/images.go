package main

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"google.golang.org/api/iterator"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
)

// How long real builds and scans may take.
const (
	buildTime = 15 * time.Minute
	scanTime  = 15 * time.Minute
)

const (
	cloudBuild = "cloudbuild.googleapis.com"
	registry   = "artifactregistry.googleapis.com"
	pubsub     = "pubsub.googleapis.com"
)

// badPackage is a package of npm that is on the list of malicious ones, as MAL-2024-973. The image has its name and
// version in a file, as if it were installed, and nothing of the package.
const badPackage = "packages-analytic"

// family is what is built: by name, a Dockerfile. good and unsigned can run; old is a Debian without support, whose
// findings are known to exist, and has a file with a text in the form of an API key, and the name of a
// malicious package.
func family() map[string]string {
	sum := sha256.Sum256([]byte("no key of anybody"))
	key := "AI" + "za" + base64.RawURLEncoding.EncodeToString(sum[:])[:35]
	return map[string]string{
		"good":     "FROM us-docker.pkg.dev/cloudrun/container/hello\nLABEL trial=good\n",
		"unsigned": "FROM us-docker.pkg.dev/cloudrun/container/hello\nLABEL trial=unsigned\n",
		"old": "FROM docker.io/library/debian:buster-20230411\nLABEL trial=old\nRUN echo " + key + " > /root/api-key\n" +
			"WORKDIR /app/node_modules/" + badPackage + "\n" +
			`RUN echo '{"name": "` + badPackage + `", "version": "1.0.0"}' > package.json` + "\n",
		"echo": echo,
	}
}

// members are those of the family that are built.
func (t *trial) members() []string {
	out := []string{"good", "unsigned", "old"}
	if t.proxied {
		out = append(out, "echo")
	}
	return out
}

// buildScript makes members of the family by docker's commands, and an index of two of them.
func buildScript(path string, members []string) (script string, images []string) {
	var b strings.Builder
	for _, member := range members {
		fmt.Fprintf(&b, "docker build -t %s/%s - <<'END'\n%sEND\n", path, member, family()[member])
		images = append(images, path+"/"+member)
	}

	// The two are pushed for it.
	fmt.Fprintf(&b, "docker push %s/good\ndocker push %s/unsigned\n", path, path)
	fmt.Fprintf(&b, "docker manifest create %s/index %s/good %s/unsigned\ndocker manifest push %s/index\n",
		path, path, path, path)
	return b.String(), images
}

func (t *trial) project() string { return strings.TrimPrefix(t.parent, "projects/") }

// location is projects/P/locations/R.
func (t *trial) location() string { return t.parent + "/locations/" + t.region }

// repository is the path of images, and the resource.
func (t *trial) repository() (path, name string) {
	return t.region + "-docker.pkg.dev/" + t.project() + "/" + t.run, t.location() + "/repositories/" + t.run
}

// buildImages makes a repository, and has Cloud Build build and push the family. It answers the images by digest.
func (t *trial) buildImages(ctx context.Context) (map[string]string, error) {
	path, name := t.repository()
	t.later("the repository", func(ctx context.Context) error {
		return t.rest.call(ctx, "DELETE", registry, "/v1/"+name, nil, nil)
	})
	if err := t.make(ctx, func(ctx context.Context) error {
		var op operation
		if err := t.rest.call(ctx, "POST", registry, "/v1/"+t.location()+"/repositories?repositoryId="+t.run,
			map[string]any{"format": "DOCKER"}, &op); err != nil {
			return err
		}
		return t.await(ctx, registry, "/v1/", op)
	}); err != nil {
		return nil, fmt.Errorf("creating the repository: %w", err)
	}

	// One build makes all three.
	script, images := buildScript(path, t.members())
	build := map[string]any{
		"steps": []any{map[string]any{"name": "gcr.io/cloud-builders/docker", "entrypoint": "bash",
			"args": []string{"-euc", script}}},
		"images": images, "options": map[string]any{"logging": "CLOUD_LOGGING_ONLY", "requestedVerifyOption": "VERIFIED"},
		"timeout": "900s",
		"tags":    []string{t.run},
	}
	start := time.Now()
	var made struct {
		Metadata struct {
			Build struct {
				ID string `json:"id"`
			} `json:"build"`
		} `json:"metadata"`
	}
	t.later("the build", func(ctx context.Context) error {
		return t.cancelBuilds(ctx, t.location(), "tags="+t.run, t.run)
	})
	if err := t.make(ctx, func(ctx context.Context) error {
		return t.rest.call(ctx, "POST", cloudBuild, "/v1/"+t.location()+"/builds", build, &made)
	}); err != nil {
		return nil, fmt.Errorf("starting the build: %w", err)
	}
	at := "/v1/" + t.location() + "/builds/" + made.Metadata.Build.ID

	var result built
	if err := t.poll(ctx, "the build", buildTime, func(ctx context.Context) (bool, error) {
		err := t.rest.call(ctx, "GET", cloudBuild, at, nil, &result)
		return result.ended(), err
	}); err != nil {
		return nil, err
	}
	t.found("build-result", "Does a build that pushes end as SUCCESS, and name every image with the digest that "+
		"was pushed?", fmt.Sprint("SUCCESS ", len(images)),
		fmt.Sprint(result.Status, " ", len(result.Results.Images)))

	// By the last part of the name, under which the trial asks for them.
	out := map[string]string{}
	for _, i := range result.Results.Images {
		out[i.Name[strings.LastIndexByte(i.Name, '/')+1:]] = i.Name + "@" + i.Digest
	}
	if len(out) != len(images) {
		return nil, fmt.Errorf("the build ended as %s, and named this many by digest: %d", result.Status, len(out))
	}
	return out, t.askRegistry(ctx, out["good"], start)
}

// built is the state of a build.
type built struct {
	ID      string   `json:"id"`
	Status  string   `json:"status"`
	Tags    []string `json:"tags"`
	Results struct {
		Images []struct {
			Name   string `json:"name"`
			Digest string `json:"digest"`
		} `json:"images"`
	} `json:"results"`
}

func (b built) ended() bool {
	return b.Status != "" && b.Status != "PENDING" && b.Status != "QUEUED" && b.Status != "WORKING"
}

// cancelBuilds ends the builds of a place that go on and have a tag of a trial: what they pushed later would stay. They
// are found by their tag, since the answer with the id may have been lost.
func (t *trial) cancelBuilds(ctx context.Context, place, filter, tag string) error {
	const maxPages = 100
	at := "/v1/" + place + "/builds"
	var errs []error
	page := ""
	for range maxPages {
		var all struct {
			Builds []built `json:"builds"`
			Next   string  `json:"nextPageToken"`
		}
		if err := t.rest.call(ctx, "GET", cloudBuild, at+"?filter="+url.QueryEscape(filter)+"&pageToken="+
			url.QueryEscape(page), nil, &all); err != nil {
			return errors.Join(append(errs, err)...)
		}

		// A filter that a service did not apply must not end somebody else's build.
		for _, b := range all.Builds {
			if !b.ended() && slices.ContainsFunc(b.Tags, func(t string) bool { return strings.HasPrefix(t, tag) }) {
				errs = append(errs, t.rest.call(ctx, "POST", cloudBuild, at+"/"+b.ID+":cancel", map[string]any{}, nil))
			}
		}
		if page = all.Next; page == "" {
			return errors.Join(errs...)
		}
	}
	return errors.Join(append(errs, fmt.Errorf("listing builds: more than %d pages", maxPages))...)
}

// await polls an operation until it is done.
func (t *trial) await(ctx context.Context, host, prefix string, op operation) error {
	return t.poll(ctx, "an operation", buildTime, func(ctx context.Context) (bool, error) {
		if op.Done {
			if op.Error != nil {
				return true, fmt.Errorf("the operation failed with code %d", op.Error.Code)
			}
			return true, nil
		}
		return false, t.rest.call(ctx, "GET", host, prefix+op.Name, nil, &op)
	})
}

// askRegistry: what the gate reads of Artifact Registry beside manifests.
func (t *trial) askRegistry(ctx context.Context, image string, start time.Time) error {
	_, name := t.repository()
	var d struct {
		UploadTime time.Time `json:"uploadTime"`
	}
	if err := t.rest.call(ctx, "GET", registry,
		"/v1/"+name+"/dockerImages/"+image[strings.LastIndexByte(image, '/')+1:], nil, &d); err != nil {
		return fmt.Errorf("reading the image: %w", err)
	}
	// Clocks differ by seconds.
	near := d.UploadTime.After(start.Add(-time.Minute)) && d.UploadTime.Before(time.Now().Add(time.Minute))
	t.found("registry-upload-time", "Is an image's upload time that of its push?", "true", fmt.Sprint(near))

	host, rest, _ := strings.Cut(image, "/")
	repository, digest, _ := strings.Cut(rest, "@")
	var referrers struct {
		MediaType string `json:"mediaType"`
	}
	err := t.rest.call(ctx, "GET", host, "/v2/"+repository+"/referrers/"+digest, nil, &referrers)
	answer := referrers.MediaType
	if err != nil {
		answer = err.Error()
	}
	t.found("registry-referrers", "Does the registry answer the list of referrers of an image, and as what?",
		"application/vnd.oci.image.index.v1+json", answer)

	for _, topic := range []struct{ id, name string }{{"topic-occurrences", "container-analysis-occurrences-v1"},
		{"topic-notes", "container-analysis-notes-v1"}} {
		err := t.rest.call(ctx, "GET", pubsub, "/v1/"+t.parent+"/topics/"+topic.name, nil, nil)
		if err != nil && !isNotFound(err) {
			return fmt.Errorf("reading a topic: %w", err)
		}
		t.found(topic.id, "Did Google create the topic "+topic.name+"?", "true", fmt.Sprint(err == nil))
	}
	return nil
}

// askScans waits for the scanner, and asks what the gate reads of it.
func (t *trial) askScans(ctx context.Context, images map[string]string) error {
	start := time.Now()
	for _, member := range []string{"good", "old"} {
		var scan *grafeaspb.Occurrence
		if err := t.poll(ctx, "the scan of "+member, scanTime, func(ctx context.Context) (bool, error) {
			found, err := t.list(ctx, fmt.Sprintf(`kind = "DISCOVERY" AND resourceUrl = "https://%s"`, images[member]))
			for _, o := range found {
				if strings.HasSuffix(o.GetNoteName(), "/notes/PACKAGE_VULNERABILITY") {
					scan = o
				}
			}
			return scan != nil && scan.GetDiscovery().GetAnalysisStatus() > grafeaspb.DiscoveryOccurrence_SCANNING, err
		}); err != nil {
			return err
		}
		d := scan.GetDiscovery()
		findings, err := t.list(ctx, fmt.Sprintf(`kind = "VULNERABILITY" AND resourceUrl = "https://%s"`,
			images[member]))
		if err != nil {
			return fmt.Errorf("listing findings: %w", err)
		}
		note := strings.Split(scan.GetNoteName(), "/")
		t.found("scan-"+member, "How does the scan end, whose note is it of, is it continuous, and has it a time?",
			"FINISHED_SUCCESS goog-analysis ACTIVE true",
			fmt.Sprint(d.GetAnalysisStatus(), " ", note[1], " ", d.GetContinuousAnalysis(), " ",
				d.GetLastScanTime() != nil))
		if member == "old" {
			t.found("scan-findings", "Has a Debian without support findings, each of an affected package?", "true",
				fmt.Sprint(len(findings) > 0 && packaged(findings)))
		}
	}

	fmt.Fprintf(t.log, "scans took %s\n", time.Since(start).Round(time.Second))
	return nil
}

func packaged(findings []*grafeaspb.Occurrence) bool {
	for _, o := range findings {
		if len(o.GetVulnerability().GetPackageIssue()) == 0 {
			return false
		}
	}
	return true
}

// list is all occurrences of the project that a filter selects.
func (t *trial) list(ctx context.Context, filter string) ([]*grafeaspb.Occurrence, error) {
	var out []*grafeaspb.Occurrence
	for it := t.grafeas.ListOccurrences(ctx, &grafeaspb.ListOccurrencesRequest{Parent: t.parent, Filter: filter,
		PageSize: 1000}); ; {
		o, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, o)
	}
}
