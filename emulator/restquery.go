package emulator

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
)

// queryFields are the parameters of the registered services that Google's front end reads more liberally than
// protobuf's JSON does, by name in both forms: booleans and field masks.
type queryFields struct{ booleans, masks map[string]bool }

// newQueryFields finds them in the requests of every method that a server has.
func newQueryFields(s *grpc.Server) queryFields {
	q := queryFields{booleans: map[string]bool{}, masks: map[string]bool{}}
	for name := range s.GetServiceInfo() {
		d, err := protoregistry.GlobalFiles.FindDescriptorByName(protoreflect.FullName(name))
		service, ok := d.(protoreflect.ServiceDescriptor)
		if err != nil || !ok {
			continue // a service without a description has no REST paths
		}
		for methods, i := service.Methods(), 0; i < methods.Len(); i++ {
			q.add(methods.Get(i).Input())
		}
	}
	return q
}

func (q queryFields) add(md protoreflect.MessageDescriptor) {
	for fields, i := md.Fields(), 0; i < fields.Len(); i++ {
		fd := fields.Get(i)
		switch {
		case fd.Kind() == protoreflect.BoolKind:
			q.booleans[fd.JSONName()], q.booleans[string(fd.Name())] = true, true
		case fd.Message() != nil && fd.Message().FullName() == "google.protobuf.FieldMask":
			q.masks[fd.JSONName()], q.masks[string(fd.Name())] = true, true
		}
	}
}

// normal is a query as protobuf's JSON has it.
func (q queryFields) normal(raw string) string {
	values, err := url.ParseQuery(raw)
	if err != nil {
		return raw // the transcoder refuses it
	}
	changed := false
	for name, all := range values {
		for i, v := range all {
			switch {
			// gcloud writes Python's booleans.
			case q.booleans[name] && (v == "True" || v == "False"):
				all[i] = strings.ToLower(v)
			// google.protobuf.FieldMask is in JSON "a single string where paths are separated by a comma" and "fields
			// name in each path are converted to/from lower-camel naming conventions"; the services take either form.
			case q.masks[name] && strings.Contains(v, "_"):
				all[i] = camelPaths(v)
			}
			changed = changed || all[i] != v
		}
	}

	if !changed {
		return raw
	}
	return values.Encode()
}

// camelPaths is a list of paths in lower camel case.
func camelPaths(paths string) string {
	var b strings.Builder
	up := false
	for _, c := range paths {
		switch {
		case c == '_':
			up = true
		case up && c >= 'a' && c <= 'z':
			b.WriteRune(c - 'a' + 'A')
			up = false
		default:
			b.WriteRune(c)
			up = false
		}
	}

	return b.String()
}

// policyGetter is whether the service of a resource reads IAM policies by GET. The REST descriptions of Cloud KMS and
// Binary Authorization have "GET v1/{+resource}:getIamPolicy"; those of Container Analysis and Resource Manager have
// "POST". Artifact Registry has methods of its own, with their own paths.
func policyGetter(path string) bool {
	for _, collection := range []string{"/keyRings/", "/attestors/", "/policy:"} {
		if strings.Contains(path, collection) {
			return true
		}
	}
	return false
}

// policyRequest makes of a GET of an IAM policy the POST that the transcoder has from google.iam.v1.IAMPolicy. It
// answers false for a request by the method that the service does not have.
func policyRequest(r *http.Request) bool {
	if !strings.HasSuffix(r.URL.Path, ":getIamPolicy") || strings.Contains(r.URL.Path, "/repositories/") {
		return true
	}
	byGet := policyGetter(r.URL.Path)
	if byGet != (r.Method == http.MethodGet) {
		return false
	}
	if !byGet {
		return true
	}

	// google.iam.v1.GetPolicyOptions: requested_policy_version is the one option.
	body := map[string]any{}
	for _, name := range []string{"options.requestedPolicyVersion", "options.requested_policy_version"} {
		if v := r.URL.Query().Get(name); v != "" {
			n, err := strconv.Atoi(v)
			if err != nil {
				return false
			}
			body["options"] = map[string]any{"requestedPolicyVersion": n}
		}
	}

	b, err := json.Marshal(body)
	if err != nil {
		return false
	}
	r.Method, r.URL.RawQuery = http.MethodPost, ""
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(b)), int64(len(b))
	r.Header.Set("Content-Type", "application/json")
	return true
}
