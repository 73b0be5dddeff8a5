package main

import (
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/rogpeppe/go-internal/testscript"
)

// throttleRegistry is `throttle STATUS TIMES RETRY-AFTER`: it stands before
// $REGISTRY, answers so many requests for manifests and blobs with a status and
// a Retry-After, passes on the rest, and sets $THROTTLED.
func throttleRegistry(ts *testscript.TestScript, _ bool, args []string) {
	if len(args) != 3 {
		ts.Fatalf("usage: throttle STATUS TIMES RETRY-AFTER")
	}

	status, err := strconv.Atoi(args[0])
	ts.Check(err)
	times, err := strconv.ParseInt(args[1], 10, 64)
	ts.Check(err)

	var asked atomic.Int64
	next := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: ts.Getenv("REGISTRY")})
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v2/" && asked.Add(1) <= times {
			w.Header().Set("Retry-After", args[2])
			w.WriteHeader(status)
			return
		}
		next.ServeHTTP(w, r)
	}))

	ts.Defer(srv.Close)
	ts.Setenv("THROTTLED", strings.TrimPrefix(srv.URL, "http://"))
}
