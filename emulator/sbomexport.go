package emulator

import (
	"context"
	"net/http"
	"strings"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

const exportSBOM = ":exportSBOM"

// serveExportSBOM is projects.resources.exportSBOM, which the Go types do not have. The REST description of Container
// Analysis: "POST v1/{+name}:exportSBOM", name is "projects/[PROJECT_ID]/resources/[RESOURCE_URL]", and the answer is
// "the name of the discovery occurrence …. It can be used to track the progress of the SBOM export." gcloud calls the
// method of v1beta1, which has another name for the answer's field.
func (e *Emulator) serveExportSBOM(w http.ResponseWriter, r *http.Request) {
	version, name, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	parent, resource, ok := strings.Cut(strings.TrimSuffix(name, exportSBOM), "/resources/")
	if !ok || r.Method != http.MethodPost || version != "v1" && version != "v1beta1" {
		writeError(w, codes.NotFound, "want POST /v1/projects/PROJECT/resources/RESOURCE"+exportSBOM, nil)
		return
	}

	// Through the interceptor, so that faults, quotas and permissions meet it as they meet every method.
	const method = "/google.devtools.containeranalysis.v1.ContainerAnalysis/ExportSBOM"
	answer := func(ctx context.Context, _ any) (any, error) {
		id, err := e.exportSBOM(ctx, parent, resource)
		return structpb.NewStringValue(id), err
	}
	req := structpb.NewStringValue(name)
	out, err := e.intercept(restContext(r), req, &grpc.UnaryServerInfo{FullMethod: method}, answer)
	if err != nil {
		writeStatus(w, status.Convert(err))
		return
	}

	id, _ := out.(*structpb.Value)
	field, value := "discoveryOccurrence", id.GetStringValue()
	if version == "v1beta1" {
		field, value = "discoveryOccurrenceId", lastSegment(value)
	}
	writeJSON(w, http.StatusOK, map[string]any{field: value})
}

// exportSBOM marks the SBOM of a scanned resource as complete, and answers the name of the scan's discovery. There is
// no bucket to write it to.
func (e *Emulator) exportSBOM(ctx context.Context, parent, resource string) (string, error) {
	if err := checkName(e.names.parent, "name", parent); err != nil {
		return "", err
	}
	if err := e.require(ctx, "containeranalysis.occurrences.update", parent); err != nil {
		return "", err
	}

	e.store.mu.Lock()
	defer e.store.mu.Unlock()

	for _, row := range e.store.list(tableOccurrences, "resource="+resource).after(0) {
		// Only the scanner's own discovery, of the project that was named.
		scan := strings.HasSuffix(row.occ.note, "/notes/PACKAGE_VULNERABILITY")
		if row.dead || !scan || row.occ.kind != grafeaspb.NoteKind_DISCOVERY || !under(row, parent) {
			continue
		}

		o := decode[grafeaspb.Occurrence](row)
		o.GetDiscovery().SbomStatus = &grafeaspb.DiscoveryOccurrence_SBOMStatus{
			SbomState: grafeaspb.DiscoveryOccurrence_SBOMStatus_COMPLETE,
		}
		o.UpdateTime = timestamppb.New(e.now())
		return o.GetName(), e.store.apply(occurrenceChange(o))
	}
	return "", notFound("no scan of resource %q was found", resource)
}
