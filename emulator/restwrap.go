package emulator

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"mime"
	"net/http"
	"strconv"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
)

// googleREST makes the transcoder's requests and answers a Google API's: paths
// that it would split wrongly, errors that it words in its own way.
func googleREST(fields queryFields, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !policyRequest(r) {
			writeError(w, codes.NotFound, "no such method: "+r.Method+" "+r.URL.Path, nil)
			return
		}
		r.URL.RawQuery = fields.normal(r.URL.RawQuery)

		// The transcoder routes on URL.Path and unescapes variables itself: given
		// the escaped form, %2F stays inside its segment.
		path := r.URL.EscapedPath()
		i := strings.LastIndex(path, "/") + 1

		// It takes a colon in the last segment for a custom verb.
		if strings.HasPrefix(path[i:], "sha256:") || strings.Contains(path[i:], "@sha256:") {
			path = path[:i] + strings.ReplaceAll(path[i:], ":", "%3A")
		}

		// There is no v1beta1 of this service in Go; its messages are v1's.
		if strings.HasSuffix(path, ":validateAttestationOccurrence") {
			path = strings.Replace(path, "/v1beta1/", "/v1/", 1)
		}

		// gcloud binds members of the policy by a version that is not published; its messages are v1's.
		if strings.HasSuffix(path, "IamPolicy") {
			path = strings.Replace(path, "/v1alpha2/", "/v1/", 1)
		}

		// The escaped path is the path from here on: the transcoder unescapes it.
		r.URL.Path, r.URL.RawPath = path, ""
		switch t, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); {
		case r.Header.Get("Content-Type") == "":
			r.Header.Set("Content-Type", "application/json")
		case err != nil, t != "application/json":
			writeError(w, codes.InvalidArgument, "want Content-Type: application/json", nil)
			return
		}

		rec := &errorRecorder{ResponseWriter: w}
		next.ServeHTTP(rec, r)
		rec.finish()
	})
}

// errorRecorder holds back answers of 400 and more, to reword them.
type errorRecorder struct {
	http.ResponseWriter
	status int
	body   bytes.Buffer
}

func (r *errorRecorder) WriteHeader(status int) {
	r.status = status
	if status < 400 {
		r.ResponseWriter.WriteHeader(status)
	}
}

func (r *errorRecorder) Write(b []byte) (int, error) {
	if r.status >= 400 {
		return r.body.Write(b)
	}
	return r.ResponseWriter.Write(b)
}

// Flush does nothing: the transcoder flushes before an error, and that would
// send 200.
func (r *errorRecorder) Flush() {}

func (r *errorRecorder) finish() {
	if r.status < 400 {
		return
	}
	var s struct {
		Code    codes.Code        `json:"code"`
		Message string            `json:"message"`
		Details []json.RawMessage `json:"details"`
	}

	if json.Unmarshal(r.body.Bytes(), &s) != nil || s.Message == "" {
		// Not from a service: no such route, or not by this method.
		s.Code, s.Message, r.status = codes.NotFound, strings.TrimSpace(r.body.String()), http.StatusNotFound
	}
	if s.Code == codes.Unknown {
		// The transcoder's own errors in reading a request.
		s.Code = codes.InvalidArgument
	}
	writeError(r.ResponseWriter, s.Code, s.Message, s.Details)
}

// writeStatus answers an error with its details.
func writeStatus(w http.ResponseWriter, s *status.Status) {
	var details []json.RawMessage
	for _, d := range s.Proto().GetDetails() {
		b, err := protojson.Marshal(d)
		if err != nil {
			continue // a type that is not linked; the code and the message say enough
		}
		details = append(details, b)
	}
	writeError(w, s.Code(), s.Message(), details)
}

// writeError answers an error in the form of Google's APIs.
func writeError(w http.ResponseWriter, code codes.Code, msg string, details []json.RawMessage) {
	number, name := httpStatus(code)
	body := map[string]any{"code": number, "message": msg, "status": name}
	if len(details) > 0 {
		body["details"] = details
	}
	writeJSON(w, number, map[string]any{"error": body})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "encoding the answer", http.StatusInternalServerError)
		return
	}

	h := w.Header()
	h.Set("Content-Type", "application/json; charset=UTF-8")
	h.Del("Content-Length")
	w.WriteHeader(status)
	_, _ = w.Write(b) // the client has gone
}

// httpStatus is the HTTP mapping of google.rpc.Code. UNIMPLEMENTED is 400
// here, where the live service has 501: gcloud repeats any 5xx for half a
// minute.
func httpStatus(c codes.Code) (status int, name string) {
	switch c {
	case codes.InvalidArgument:
		return http.StatusBadRequest, "INVALID_ARGUMENT"
	case codes.FailedPrecondition:
		return http.StatusBadRequest, "FAILED_PRECONDITION"
	case codes.OutOfRange:
		return http.StatusBadRequest, "OUT_OF_RANGE"
	case codes.Unimplemented:
		return http.StatusBadRequest, "UNIMPLEMENTED"
	case codes.Unauthenticated:
		return http.StatusUnauthorized, "UNAUTHENTICATED"
	case codes.PermissionDenied:
		return http.StatusForbidden, "PERMISSION_DENIED"
	case codes.NotFound:
		return http.StatusNotFound, "NOT_FOUND"
	case codes.AlreadyExists:
		return http.StatusConflict, "ALREADY_EXISTS"
	case codes.Aborted:
		return http.StatusConflict, "ABORTED"
	case codes.ResourceExhausted:
		return http.StatusTooManyRequests, "RESOURCE_EXHAUSTED"
	case codes.Canceled:
		return 499, "CANCELLED"
	case codes.Unavailable:
		return http.StatusServiceUnavailable, "UNAVAILABLE"
	case codes.DeadlineExceeded:
		return http.StatusGatewayTimeout, "DEADLINE_EXCEEDED"
	default:
		return http.StatusInternalServerError, "INTERNAL"
	}
}

// gzipWriter compresses an answer from its first byte on.
type gzipWriter struct {
	http.ResponseWriter
	zip *gzip.Writer
}

func (g gzipWriter) WriteHeader(status int) {
	h := g.Header()
	h.Set("Content-Encoding", "gzip")
	h.Del("Content-Length")
	g.ResponseWriter.WriteHeader(status)
}

func (g gzipWriter) Write(b []byte) (int, error) {
	g.Header().Set("Content-Encoding", "gzip")
	g.Header().Del("Content-Length")
	return g.zip.Write(b)
}

// compressed answers with gzip where it was asked for, and never else. Google's APIs, "Performance tips": "In order to
// receive a gzip-encoded response you must do two things: Set an Accept-Encoding header, and modify your user agent to
// contain the string gzip."
func compressed(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Add("Vary", "Accept-Encoding")
		if !acceptsGzip(r.Header) || !strings.Contains(r.UserAgent(), "gzip") {
			next.ServeHTTP(w, r)
			return
		}

		// What is behind sees a request for plain text, so that nothing is compressed twice.
		r.Header.Del("Accept-Encoding")
		g := gzipWriter{w, gzip.NewWriter(w)}
		next.ServeHTTP(g, r)
		_ = g.zip.Close() // the client has gone
	})
}

// acceptsGzip is whether gzip is among the codings that a client takes. RFC 9110, 12.5.3: "q=0" is "not acceptable".
func acceptsGzip(h http.Header) bool {
	for _, line := range h.Values("Accept-Encoding") {
		for coding := range strings.SplitSeq(line, ",") {
			name, parameters, _ := strings.Cut(strings.TrimSpace(coding), ";")
			q := strings.TrimPrefix(strings.ReplaceAll(parameters, " ", ""), "q=")
			weight, err := strconv.ParseFloat(q, 64)
			if strings.EqualFold(strings.TrimSpace(name), "gzip") && (err != nil || weight > 0) {
				return true
			}
		}
	}
	return false
}
