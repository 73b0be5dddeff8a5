package emulator

import (
	"context"
	"io"
	"net/http"
	"strings"

	"cloud.google.com/go/iam/apiv1/iampb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
)

// registerStubs adds the few answers of Artifact Registry and Service Usage
// without which gcloud does not get as far as asking Container Analysis:
// every repository is a Docker one, every digest is in it, the API is enabled.
// Resource Manager answers which permissions on a project no behaviour takes away.
// The emulator keeps no images; tags it cannot know.
func (e *Emulator) registerStubs(mux *http.ServeMux) {
	const repository = "/v1/projects/{project}/locations/{location}/repositories/{repository}"
	mux.HandleFunc("GET "+repository, func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"name": resourceName(r), "format": "DOCKER"})
	})
	mux.HandleFunc(
		"GET "+repository+"/packages/{package}/versions/{version}",
		func(w http.ResponseWriter, r *http.Request) {
			if digestOf("@"+r.PathValue("version")) == "" {
				writeError(w, codes.NotFound, "Requested entity was not found.", nil)
				return
			}
			writeJSON(w, http.StatusOK, map[string]any{
				"name": resourceName(r), "createTime": "2020-01-01T00:00:00Z", "updateTime": "2020-01-01T00:00:00Z",
				"metadata": map[string]any{"imageSizeBytes": "0"},
			})
		},
	)

	mux.HandleFunc("GET "+repository+"/packages/{package}/tags/{tag}", func(w http.ResponseWriter, _ *http.Request) {
		writeError(w, codes.NotFound, "The emulator keeps no tags: name the image by its digest.", nil)
	})
	mux.HandleFunc("GET "+repository+"/dockerImages", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{"dockerImages": e.dockerImages(r)})
	})

	mux.HandleFunc("GET /v1/projects/{project}/services/{service}", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{
			"name": resourceName(r), "state": "ENABLED", "config": map[string]any{"name": r.PathValue("service")},
		})
	})
}

// registerProjects adds Resource Manager's projects.testIamPermissions. Faults meet it by the name of its rpc.
func (e *Emulator) registerProjects(mux *http.ServeMux) {
	const suffix, method = ":testIamPermissions", "/google.cloud.resourcemanager.v3.Projects/TestIamPermissions"
	mux.HandleFunc("POST /v3/projects/{project}", func(w http.ResponseWriter, r *http.Request) {
		project, found := strings.CutSuffix(r.PathValue("project"), suffix)
		req := &iampb.TestIamPermissionsRequest{}
		body, err := io.ReadAll(r.Body)
		if err == nil {
			err = protojson.Unmarshal(body, req)
		}
		if !found || err != nil {
			writeError(w, codes.InvalidArgument, "want POST /v3/projects/PROJECT"+suffix+" with permissions", nil)
			return
		}

		req.Resource = "projects/" + project
		answer := func(context.Context, any) (any, error) { return e.testPermissions(req) }
		out, err := e.intercept(r.Context(), req, &grpc.UnaryServerInfo{FullMethod: method}, answer)
		resp, ok := out.(*iampb.TestIamPermissionsResponse)
		if err != nil || !ok {
			writeError(w, status.Code(err), status.Convert(err).Message(), nil)
			return
		}
		writeJSON(w, http.StatusOK, map[string]any{"permissions": resp.GetPermissions()})
	})
}

func resourceName(r *http.Request) string { return strings.TrimPrefix(r.URL.Path, "/v1/") }

// dockerImages are the images of a repository that occurrences are about.
func (e *Emulator) dockerImages(r *http.Request) []map[string]any {
	project, repository := r.PathValue("project"), r.PathValue("repository")
	prefix := r.PathValue("location") + "-docker.pkg.dev/" + project + "/" + repository + "/"
	seen := map[string]bool{}
	out := []map[string]any{}
	e.store.mu.RLock()
	defer e.store.mu.RUnlock()

	for _, row := range e.store.list(tableOccurrences, "projects/"+project).after(0) {
		uri := strings.TrimPrefix(row.occ.resource, "https://")
		image, ok := strings.CutPrefix(uri, prefix)
		if row.dead || !ok || digestOf(uri) == "" || seen[uri] {
			continue
		}

		seen[uri] = true
		out = append(out, map[string]any{
			"name": strings.TrimSuffix(resourceName(r), "/dockerImages") + "/dockerImages/" + image,
			"uri":  uri, "uploadTime": "2020-01-01T00:00:00Z", "updateTime": "2020-01-01T00:00:00Z",
			"imageSizeBytes": "0",
		})
	}
	return out
}
