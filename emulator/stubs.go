package emulator

import (
	"context"
	"io"
	"net/http"
	"strings"

	"cloud.google.com/go/iam/apiv1/iampb"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
)

// registerStubs adds the answer of Service Usage without which gcloud does not get as far as asking Container Analysis:
// the API is enabled.
func (e *Emulator) registerStubs(mux *http.ServeMux) {
	mux.HandleFunc("GET /v1/projects/{project}/services/{service}", func(w http.ResponseWriter, r *http.Request) {
		writeJSON(w, http.StatusOK, map[string]any{
			"name": strings.TrimPrefix(r.URL.Path, "/v1/"), "state": "ENABLED",
			"config": map[string]any{"name": r.PathValue("service")},
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
		answer := func(ctx context.Context, _ any) (any, error) { return e.testPermissions(ctx, req) }
		out, err := e.intercept(restContext(r), req, &grpc.UnaryServerInfo{FullMethod: method}, answer)
		resp, ok := out.(*iampb.TestIamPermissionsResponse)
		if err != nil || !ok {
			writeStatus(w, status.Convert(err))
			return
		}
		writeJSON(w, http.StatusOK, map[string]any{"permissions": resp.GetPermissions()})
	})
}

// restContext has the caller of a request where gRPC's handlers look for it.
func restContext(r *http.Request) context.Context {
	return metadata.NewIncomingContext(r.Context(), metadata.MD{"authorization": r.Header.Values("Authorization")})
}
