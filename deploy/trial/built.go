package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"

	"github.com/attestor-gate/attestor"
)

// subscribe has messages of Container Analysis kept, from before there is anything to tell.
func (t *trial) subscribe(ctx context.Context) error {
	at := "/v1/" + t.parent + "/subscriptions/" + t.run
	t.later("the subscription", func(ctx context.Context) error {
		return t.rest.call(ctx, "DELETE", pubsub, at, nil, nil)
	})
	err := t.make(ctx, func(ctx context.Context) error {
		return t.rest.call(ctx, "PUT", pubsub, at,
			map[string]any{"topic": t.parent + "/topics/container-analysis-occurrences-v1"}, nil)
	})
	if isNotFound(err) {
		return nil // there is no such topic, which is a fact of its own
	}
	return err
}

// askBuilt asks about the provenance, the secret, the index and the messages of what was built and scanned.
func (t *trial) askBuilt(ctx context.Context, images map[string]string) error {
	for _, step := range []func(context.Context, map[string]string) error{
		t.askProvenance, t.askSecrets, t.askMalware, t.askIndex, t.askMessages,
	} {
		if err := step(ctx, images); err != nil {
			return err
		}
	}
	return nil
}

// eventually lists until there is something, or until time is over: that nothing comes is an answer.
func (t *trial) eventually(
	ctx context.Context, filter string, wait time.Duration,
) (out []*grafeaspb.Occurrence, err error) {
	err = t.awhile(ctx, wait, func(ctx context.Context) (bool, error) {
		out, err = t.list(ctx, filter)
		return len(out) > 0, err
	})
	return out, err
}

// askProvenance: whose note Cloud Build's statements are of, by whose key one is signed, and what it is about.
func (t *trial) askProvenance(ctx context.Context, images map[string]string) error {
	image := images["good"]
	all, err := t.eventually(ctx, fmt.Sprintf(`kind = "BUILD" AND resourceUrl = "https://%s"`, image), t.patience)
	if err != nil {
		return fmt.Errorf("listing statements of the build: %w", err)
	}

	// Whose note it is says the project in its name.
	_, digest, _ := strings.Cut(image, "@sha256:")
	notes := map[string]bool{}
	signed, about := false, false
	for _, o := range all {
		notes[strings.Split(o.GetNoteName()+"/", "/")[1]] = true
		for _, s := range o.GetEnvelope().GetSignatures() {
			signed = signed || strings.HasPrefix(s.GetKeyid(), "projects/verified-builder/locations/")
		}
		about = about || bytes.Contains(o.GetEnvelope().GetPayload(), []byte(digest))
	}
	answer := strings.Join(slices.Sorted(maps.Keys(notes)), ",")
	t.found("provenance",
		"Whose notes are Cloud Build's statements of, does Google's key sign one, and has it the digest?",
		"verified-builder true true", strings.TrimSpace(fmt.Sprint(answer, " ", signed, " ", about)))
	return nil
}

// askSecrets: an image with what looks like a key has an occurrence of the kind that the gate reads.
func (t *trial) askSecrets(ctx context.Context, images map[string]string) error {
	all, err := t.eventually(ctx, fmt.Sprintf(`kind = "SECRET" AND resourceUrl = "https://%s"`, images["old"]),
		min(t.lag, t.patience))
	if err != nil {
		return fmt.Errorf("listing secrets: %w", err)
	}

	kinds := map[string]bool{}
	for _, o := range all {
		kinds[o.GetSecret().GetKind().String()] = true
	}
	t.found("scan-secret", "Which kinds of secrets are found in an image with what looks like a key of an API?",
		"SECRET_KIND_GCP_API_KEY", strings.Join(slices.Sorted(maps.Keys(kinds)), ","))
	return nil
}

// askMalware: the name of a malicious package is a finding that says so where the gate looks for it.
func (t *trial) askMalware(ctx context.Context, images map[string]string) error {
	all, err := t.list(ctx, fmt.Sprintf(`kind = "VULNERABILITY" AND resourceUrl = "https://%s"`, images["old"]))
	if err != nil {
		return fmt.Errorf("listing findings: %w", err)
	}

	// By the note's id or by the description, of which the gate takes either.
	answer := "none"
	for _, o := range all {
		v, id := o.GetVulnerability(), o.GetNoteName()[strings.LastIndexByte(o.GetNoteName(), '/')+1:]
		if attestor.MaliciousID(id) || attestor.MaliciousID(v.GetShortDescription()) {
			answer = v.GetEffectiveSeverity().String()
			fmt.Fprintf(t.log, "the finding of a malicious package is %s, described as %q\n", id, v.GetShortDescription())
		}
	}
	t.found("scan-malware", "Is the name of a malicious package a finding by its advisory's id (MAL-…), and how severe?",
		"CRITICAL", answer)
	return nil
}

// askIndex: an index has no scan of its own, so that the gate must ask for its children.
func (t *trial) askIndex(ctx context.Context, _ map[string]string) error {
	_, name := t.repository()
	var all struct {
		Images []struct {
			URI       string `json:"uri"`
			MediaType string `json:"mediaType"`
		} `json:"dockerImages"`
	}
	if err := t.rest.call(ctx, "GET", registry, "/v1/"+name+"/dockerImages?pageSize=100", nil, &all); err != nil {
		return fmt.Errorf("listing images: %w", err)
	}
	for _, i := range all.Images {
		if !strings.Contains(i.URI, "/index@") {
			continue
		}
		scans, err := t.eventually(ctx, fmt.Sprintf(`kind = "DISCOVERY" AND resourceUrl = "https://%s"`, i.URI),
			min(t.lag, t.patience))
		if err != nil {
			return fmt.Errorf("listing scans of the index: %w", err)
		}
		t.found("scan-index", "Has an index a scan of its own beside those of its children?", "false",
			fmt.Sprint(len(scans) > 0))
		return nil
	}
	t.skip("the scan of an index: the registry does not list the one that was pushed")
	return nil
}

// askMessages: a message names an occurrence, and has nothing that could be taken for its content.
func (t *trial) askMessages(ctx context.Context, _ map[string]string) error {
	at := "/v1/" + t.parent + "/subscriptions/" + t.run + ":pull"
	var pulled struct {
		Messages []struct {
			Message struct {
				Data []byte `json:"data"`
			} `json:"message"`
		} `json:"receivedMessages"`
	}

	// Nothing need come: that there is no message is an answer, too.
	err := t.awhile(ctx, t.patience, func(ctx context.Context) (bool, error) {
		err := t.rest.call(ctx, "POST", pubsub, at, map[string]any{"maxMessages": 1}, &pulled)
		return len(pulled.Messages) > 0 || isNotFound(err), err
	})
	if err != nil && !isNotFound(err) {
		return fmt.Errorf("pulling: %w", err)
	}

	answer := "none"
	if len(pulled.Messages) > 0 {
		var m struct {
			Name string    `json:"name"`
			Kind string    `json:"kind"`
			Time time.Time `json:"notificationTime"`
		}
		err := json.Unmarshal(pulled.Messages[0].Message.Data, &m)
		answer = fmt.Sprint(err == nil, " ", strings.HasPrefix(m.Name, t.parent+"/occurrences/"), " ", m.Kind != "", " ",
			!m.Time.IsZero())
	}
	t.found("topic-message", "Is a message about an occurrence JSON, with its name, kind and a time?",
		"true true true true", answer)
	return nil
}
