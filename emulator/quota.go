package emulator

import (
	"fmt"
	"strconv"
	"strings"
	"sync"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
)

// usage counts calls by quota, in windows that start with their first call.
type usage struct {
	mu      sync.Mutex
	windows map[Quota]window
}

type window struct {
	start time.Time
	calls int
}

func newUsage() *usage { return &usage{windows: map[Quota]window{}} }

// take counts a call, or answers how long its quota is used up.
func (u *usage) take(q Quota, now time.Time) (wait time.Duration, ok bool) {
	u.mu.Lock()
	defer u.mu.Unlock()

	// A window begins with its first call; a clock that was put back begins a new one.
	w := u.windows[q]
	if age := now.Sub(w.start); age < 0 || age >= q.Per {
		w = window{start: now}
	}
	if w.calls >= q.Limit {
		return w.start.Add(q.Per).Sub(now), false
	}
	w.calls++
	u.windows[q] = w
	return 0, true
}

// withinQuotas fails a call beyond a quota. A call that is refused by one uses nothing of those after it.
func (e *Emulator) withinQuotas(method string, req proto.Message) error {
	for _, q := range e.Behaviour().Quotas {
		if !methodMatches(q.Method, method) {
			continue
		}
		if wait, ok := e.usage.take(q, e.now()); !ok {
			return quotaError(q, wait, method, req)
		}
	}
	return nil
}

// serviceOf is the name by which Google knows a method's service.
func serviceOf(method string) string {
	for prefix, service := range map[string]string{
		"grafeas.v1.": "containeranalysis", "google.devtools.containeranalysis.": "containeranalysis",
		"google.cloud.kms.": "cloudkms", "google.cloud.location.": "cloudkms",
		"google.cloud.binaryauthorization.": "binaryauthorization",
		"google.devtools.artifactregistry.": "artifactregistry",
		"google.cloud.resourcemanager.":     "cloudresourcemanager",
		"google.iam.v1.IAMPolicy/":          "cloudkms",
	} {
		if strings.HasPrefix(method, prefix) {
			return service + ".googleapis.com"
		}
	}
	return "googleapis.com"
}

// quotaError is the answer beyond a quota. google.api.ErrorReason, RATE_LIMIT_EXCEEDED: "The request is denied because
// there is not enough rate quota for the consumer", with "consumer", "service", "quota_metric" and "quota_limit" in the
// ErrorInfo. google.rpc.RetryInfo: "Clients should wait at least this long between retrying the same request."
func quotaError(q Quota, wait time.Duration, method string, req proto.Message) error {
	service := serviceOf(method)
	name := method[strings.LastIndexByte(method, '/')+1:]
	metric := service + "/" + strings.ToLower(name) + "_requests"
	limit := name + "PerProject"
	consumer := "projects/" + consumerOf(req)

	msg := fmt.Sprintf("Quota exceeded for quota metric '%s' and limit '%s' of service '%s' for consumer '%s'.",
		metric, limit, service, consumer)
	return withDetails(status.New(codes.ResourceExhausted, msg),
		&errdetails.ErrorInfo{
			Reason: "RATE_LIMIT_EXCEEDED", Domain: "googleapis.com",
			Metadata: map[string]string{
				"consumer": consumer, "service": service, "quota_metric": metric, "quota_limit": limit,
				"quota_limit_value": strconv.Itoa(q.Limit),
			},
		},
		&errdetails.RetryInfo{RetryDelay: durationpb.New(wait)},
	)
}

// consumerOf is the project that a request names, or "unknown".
func consumerOf(req proto.Message) string {
	if req != nil {
		r := req.ProtoReflect()
		for _, field := range []string{"parent", "name", "resource"} {
			fd := r.Descriptor().Fields().ByTextName(field)
			if fd == nil || fd.Message() != nil || fd.IsList() {
				continue
			}
			if p := projectOf(r.Get(fd).String()); p != "" {
				return p
			}
		}
	}
	return "unknown"
}
