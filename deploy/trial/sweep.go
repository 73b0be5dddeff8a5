package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/api/iterator"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
)

// sweep deletes what earlier trials left, each thing by the prefix of its name. One thing that stays does not keep the
// others.
func (t *trial) sweep(ctx context.Context) error {
	var errs []error
	if t.rest.http != nil {
		errs = append(errs, t.sweepBuilds(ctx), t.sweepImages(ctx), t.sweepREST(ctx, iam, "/v1/", t.parent, "serviceAccounts"),
			t.sweepREST(ctx, pubsub, "/v1/", t.parent, "subscriptions"))
	}

	// The policy before the attestor that it asks for.
	return errors.Join(append(errs, t.sweepPolicy(ctx), t.sweepAttestors(ctx), t.sweepNotes(ctx),
		t.deleteOccurrences(ctx, prefix), t.sweepKeys(ctx))...)
}

func (t *trial) sweepAttestors(ctx context.Context) error {
	var errs []error
	for it := t.binauthz.ListAttestors(ctx, &binaryauthorizationpb.ListAttestorsRequest{Parent: t.parent}); ; {
		a, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return errors.Join(errs...)
		}
		if err != nil {
			return errors.Join(append(errs, fmt.Errorf("listing attestors: %w", err))...)
		}
		if strings.HasPrefix(a.GetName(), t.parent+"/attestors/"+prefix) {
			errs = append(errs,
				t.binauthz.DeleteAttestor(ctx, &binaryauthorizationpb.DeleteAttestorRequest{Name: a.GetName()}))
		}
	}
}

func (t *trial) sweepNotes(ctx context.Context) error {
	var errs []error
	for it := t.grafeas.ListNotes(ctx, &grafeaspb.ListNotesRequest{Parent: t.parent}); ; {
		n, err := it.Next()
		if errors.Is(err, iterator.Done) {
			return errors.Join(errs...)
		}
		if err != nil {
			return errors.Join(append(errs, fmt.Errorf("listing notes: %w", err))...)
		}
		if strings.HasPrefix(n.GetName(), t.parent+"/notes/"+prefix) {
			errs = append(errs, t.deleteAttestations(ctx, n.GetName()),
				t.grafeas.DeleteNote(ctx, &grafeaspb.DeleteNoteRequest{Name: n.GetName()}))
		}
	}
}

// sweepKeys schedules the destruction of what signs, or could. Key rings stay: Cloud KMS deletes none.
func (t *trial) sweepKeys(ctx context.Context) error {
	var errs []error
	for rings := t.keys.ListKeyRings(ctx, &kmspb.ListKeyRingsRequest{Parent: t.parent + "/locations/global"}); ; {
		r, err := rings.Next()
		if errors.Is(err, iterator.Done) {
			return errors.Join(errs...)
		}
		if err != nil {
			return errors.Join(append(errs, fmt.Errorf("listing key rings: %w", err))...)
		}
		if !strings.HasPrefix(r.GetName(), t.parent+"/locations/global/keyRings/"+prefix) {
			continue
		}

		versions := t.keys.ListCryptoKeyVersions(ctx,
			&kmspb.ListCryptoKeyVersionsRequest{Parent: r.GetName() + "/cryptoKeys/signer"})
		for {
			v, err := versions.Next()
			if err != nil {
				// A trial that was killed before it made the key left a ring without one.
				if !errors.Is(err, iterator.Done) && code(err) != "NotFound" {
					errs = append(errs, fmt.Errorf("listing key versions: %w", err))
				}
				break
			}
			if s := v.GetState(); s == kmspb.CryptoKeyVersion_ENABLED || s == kmspb.CryptoKeyVersion_DISABLED {
				_, err := t.keys.DestroyCryptoKeyVersion(ctx, &kmspb.DestroyCryptoKeyVersionRequest{Name: v.GetName()})
				errs = append(errs, err)
			}
		}
	}
}

// deleteOccurrences deletes those of images that no trial pushed, of the run or, by the prefix, of every run. Where the
// answer that had a name was lost, this finds them; a list may lag behind then.
func (t *trial) deleteOccurrences(ctx context.Context, run string) error {
	at := "us-docker.pkg.dev/" + t.project() + "/" + run
	for n := 1; ; n++ {
		var all []*grafeaspb.Occurrence
		for _, scheme := range []string{"", "https://"} { // not in one filter, which is a question of the trial itself
			some, err := t.list(ctx, fmt.Sprintf("has_prefix(resourceUrl, %q)", scheme+at))
			if err != nil {
				return fmt.Errorf("listing occurrences: %w", err)
			}
			all = append(all, some...)
		}

		// Google's own, of an image that a trial built, are not ours to delete.
		var errs []error
		for _, o := range all {
			if strings.Contains(o.GetResourceUri(), "/"+unpushed+"@sha256:") {
				errs = append(errs, t.grafeas.DeleteOccurrence(ctx, &grafeaspb.DeleteOccurrenceRequest{Name: o.GetName()}))
			}
		}
		if len(errs) > 0 || !t.lost || n == attempts || !t.wait(ctx) {
			return errors.Join(errs...)
		}
	}
}

// places are the locations to sweep: the region, or every one where none is given, since a killed trial did not say
// which one it had.
func (t *trial) places(ctx context.Context, host, version string) ([]string, error) {
	if t.region != "" {
		return []string{t.location()}, nil
	}
	all, err := t.names(ctx, host, version+t.parent+"/locations", "locations")
	if isDisabled(err) {
		return nil, nil // nothing was ever made there
	}
	return all, err
}

// sweepBuilds cancels builds that go on: they would push to a repository that is to be deleted.
func (t *trial) sweepBuilds(ctx context.Context) error {
	places, err := t.places(ctx, cloudBuild, "/v2/")
	errs := []error{err}
	for _, place := range places {
		for _, state := range []string{"PENDING", "QUEUED", "WORKING"} {
			if err := t.cancelBuilds(ctx, place, fmt.Sprintf("status=%q", state), prefix); !isDisabled(err) {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

// sweepImages deletes the services and repositories.
func (t *trial) sweepImages(ctx context.Context) error {
	var errs []error
	for _, kind := range []struct{ host, version, collection string }{{cloudRun, "/v2/", "services"},
		{registry, "/v1/", "repositories"}} {
		places, err := t.places(ctx, kind.host, "/v1/")
		errs = append(errs, err)
		for _, place := range places {
			errs = append(errs, t.sweepREST(ctx, kind.host, kind.version, place, kind.collection))
		}
	}
	return errors.Join(errs...)
}

// sweepREST deletes what a trial made of one collection.
func (t *trial) sweepREST(ctx context.Context, host, version, parent, collection string) error {
	all, err := t.names(ctx, host, version+parent+"/"+collection, collection)
	if isDisabled(err) {
		return nil
	}

	errs := []error{err}
	for _, name := range all {
		if strings.HasPrefix(name[strings.LastIndexByte(name, '/')+1:], prefix) {
			errs = append(errs, t.rest.call(ctx, "DELETE", host, version+name, nil, nil))
		}
	}
	return errors.Join(errs...)
}

// names are those of all things of a list, page by page.
func (t *trial) names(ctx context.Context, host, path, collection string) ([]string, error) {
	const maxPages = 1000
	key := collection
	if host == iam {
		key = "accounts"
	}

	var out []string
	page := ""
	for range maxPages {
		var answer map[string]any
		if err := t.rest.call(ctx, "GET", host, path+"?pageToken="+url.QueryEscape(page), nil, &answer); err != nil {
			return out, fmt.Errorf("listing %s: %w", collection, err)
		}
		list, _ := answer[key].([]any) // nothing: the list is empty
		for _, item := range list {
			thing, _ := item.(map[string]any)
			if name, ok := thing["name"].(string); ok {
				out = append(out, name)
			}
		}
		if page, _ = answer["nextPageToken"].(string); page == "" {
			return out, nil
		}
	}
	return out, fmt.Errorf("listing %s: more than %d pages", collection, maxPages)
}
