package emulator

import (
	"fmt"
	"regexp"
	"strings"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/protoadapt"
)

// resourceNames are the shapes of names. A project may be domain-scoped:
// example.com:proj.
type resourceNames struct {
	project, parent                 *regexp.Regexp
	note, occurrence                *regexp.Regexp
	location, keyRing, key, version *regexp.Regexp
	attestor, policy, systemPolicy  *regexp.Regexp
}

const project = `projects/(?:[a-z0-9.-]+:)?[A-Za-z0-9_-][A-Za-z0-9_.-]*`

func newResourceNames() resourceNames {
	re := func(s string) *regexp.Regexp { return regexp.MustCompile(`^` + s + `$`) }
	const (
		id       = `[A-Za-z0-9_~%.:+@-]+`
		regional = project + `(?:/locations/[a-z0-9-]+)?`
		ring     = project + `/locations/[a-z0-9-]+/keyRings/[A-Za-z0-9_-]{1,63}`
		key      = ring + `/cryptoKeys/[A-Za-z0-9_-]{1,63}`
	)

	return resourceNames{
		project:      re(project),
		parent:       re(regional),
		note:         re(regional + `/notes/` + id),
		occurrence:   re(regional + `/occurrences/` + id),
		keyRing:      re(ring),
		key:          re(key),
		version:      re(key + `/cryptoKeyVersions/[0-9]+`),
		attestor:     re(project + `/attestors/[A-Za-z0-9_-]{1,63}`),
		policy:       re(project + `/policy`),
		systemPolicy: re(`locations/[a-z0-9-]+/policy`),
		location:     re(project + `/locations/[a-z0-9-]+`),
	}
}

func checkName(re *regexp.Regexp, field, name string) error {
	if len(name) > 2048 || !re.MatchString(name) {
		return invalid(field, fmt.Sprintf("invalid resource name %q", name))
	}
	return nil
}

func projectOf(name string) string {
	rest, _ := strings.CutPrefix(name, "projects/")
	p, _, _ := strings.Cut(rest, "/")
	return p
}

func lastSegment(name string) string { return name[strings.LastIndex(name, "/")+1:] }

// parentOf is the name without its last collection and id.
func parentOf(name string) string {
	name = name[:max(0, strings.LastIndex(name, "/"))]
	return name[:max(0, strings.LastIndex(name, "/"))]
}

// encode is the stored form. Deterministic, so that equal messages are equal rows.
func encode(m proto.Message) []byte {
	b, err := proto.MarshalOptions{Deterministic: true}.Marshal(m)
	if err != nil {
		// Only invalid UTF-8 or missing required fields fail, and both are refused when a request is read.
		panic("emulator: encoding a message: " + err.Error())
	}

	if b == nil {
		b = []byte{}
	}
	return b
}

func withDetails(s *status.Status, d ...protoadapt.MessageV1) error {
	out, err := s.WithDetails(d...)
	if err != nil {
		return s.Err()
	}
	return out.Err()
}

func badField(field, msg string) *errdetails.BadRequest {
	return &errdetails.BadRequest{
		FieldViolations: []*errdetails.BadRequest_FieldViolation{{Field: field, Description: msg}},
	}
}

func resourceInfo(name, msg string) *errdetails.ResourceInfo {
	return &errdetails.ResourceInfo{ResourceName: name, Description: msg}
}

func notFound(format string, name string) error {
	msg := fmt.Sprintf(format, name)
	return withDetails(status.New(codes.NotFound, msg), resourceInfo(name, msg))
}

func alreadyExists(name, msg string) error {
	return withDetails(status.New(codes.AlreadyExists, msg), resourceInfo(name, msg))
}

func denied(permission, resource string) error {
	msg := fmt.Sprintf("Permission '%s' denied on resource '%s' (or it may not exist).", permission, resource)
	service, _, _ := strings.Cut(permission, ".")
	return withDetails(status.New(codes.PermissionDenied, msg), &errdetails.ErrorInfo{
		Reason: "IAM_PERMISSION_DENIED", Domain: service + ".googleapis.com",
		Metadata: map[string]string{"permission": permission, "resource": resource},
	})
}
