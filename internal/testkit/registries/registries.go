// Package registries serves registries in the test's process: go-containerregistry's with and without the referrers
// API, and CNCF Distribution.
package registries

import (
	"context"
	"io"
	"log/slog"
	"net/http"
	"testing"

	"github.com/distribution/distribution/v3/configuration"
	"github.com/distribution/distribution/v3/registry/handlers"
	_ "github.com/distribution/distribution/v3/registry/storage/driver/inmemory" // a driver registers itself
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/sirupsen/logrus"
)

// Memory is go-containerregistry's registry, with the referrers API or without it, so that clients use the fallback
// tag.
func Memory(referrers bool) http.Handler {
	quiet := registry.Logger(slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo))
	return registry.New(registry.WithReferrersSupport(referrers), quiet)
}

// Distribution is CNCF Distribution, which most self-hosted registries are. It has no referrers API. With deletes it
// deletes what it is asked to.
func Distribution(tb testing.TB, deletes bool) http.Handler {
	tb.Helper()
	c := &configuration.Configuration{Version: "0.1", Storage: configuration.Storage{
		"inmemory": {}, "delete": {"enabled": deletes},
		"maintenance": {"uploadpurging": map[any]any{"enabled": false}}, // it would go on after the test
	}}
	c.Catalog.MaxEntries = 1000 // as where no configuration says otherwise
	c.Log.AccessLog.Disabled = true
	logrus.SetOutput(io.Discard) // it logs nowhere else

	app := handlers.NewApp(context.Background(), c)
	tb.Cleanup(func() { _ = app.Shutdown() }) // what a test left open is not its subject
	return app
}

// A Kind starts a registry, which deletes what it is asked to, or refuses to.
type Kind func(tb testing.TB, deletes bool) http.Handler

// Kinds are the registries that everything which is attached to images is shown on: with the referrers API, without it
// (so that clients use the fallback tag), and another implementation without it.
func Kinds() map[string]Kind {
	return map[string]Kind{
		"referrers API": func(_ testing.TB, deletes bool) http.Handler { return forbid(deletes, Memory(true)) },
		"fallback tag":  func(_ testing.TB, deletes bool) http.Handler { return forbid(deletes, Memory(false)) },
		"distribution":  Distribution,
	}
}

// forbid answers deletions as a registry does whose caller lacks the permission.
func forbid(deletes bool, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodDelete && !deletes {
			http.Error(w, `{"errors":[{"code":"DENIED","message":"Permission denied"}]}`, http.StatusForbidden)
			return
		}
		h.ServeHTTP(w, r)
	})
}
