package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"cloud.google.com/go/binaryauthorization/apiv1/binaryauthorizationpb"
	grafeaspb "google.golang.org/genproto/googleapis/grafeas/v1"
	"google.golang.org/protobuf/proto"
)

const cloudRun = "run.googleapis.com"

// deployTime is how long a deployment, or a changed attestation's effect, may take.
const deployTime = 10 * time.Minute

// askDeploys: what Cloud Run admits under an enforcing policy.
func (t *trial) askDeploys(ctx context.Context, w *world, images map[string]string) error {
	if err := t.enforce(ctx, w); err != nil {
		return fmt.Errorf("enforcing: %w", err)
	}
	o, err := t.attestation(ctx, w, images["good"], "")
	if err != nil {
		return err
	}

	// For another image: the signature is right, and the image is not the one that runs.
	other := proto.CloneOf(o)
	other.ResourceUri = images["old"]
	made, err := t.create(ctx, o)
	if err != nil {
		return fmt.Errorf("attesting: %w", err)
	}
	if _, err := t.create(ctx, other); err != nil {
		return fmt.Errorf("attesting another image: %w", err)
	}

	for _, d := range []struct{ id, question, image, justification, assumed string }{
		{"deploy-attested", "Does an image run that was attested?", images["good"], "", "runs"},
		{"deploy-unattested", "Does an image run that was not attested?", images["unsigned"], "",
			"refused CONTAINER_IMAGE_UNAUTHORIZED"},
		{"deploy-attested-for-another", "Does an image run with the attestation of another image?", images["old"], "",
			"refused CONTAINER_IMAGE_UNAUTHORIZED"},
		{"deploy-break-glass", "Does an image without attestation run with break-glass, and is the justification kept?",
			images["unsigned"], "trial", "runs, justified"},
	} {
		answer, err := t.deploy(ctx, d.id, d.image, d.justification)
		if err != nil {
			return fmt.Errorf("%s: %w", d.id, err)
		}
		t.found(d.id, d.question, d.assumed, answer)
	}
	if err := t.askAuditLog(ctx); err != nil {
		return fmt.Errorf("the audit log: %w", err)
	}

	// A revoked attestation: what runs goes on, a new deployment is refused.
	if err := t.grafeas.DeleteOccurrence(ctx, &grafeaspb.DeleteOccurrenceRequest{Name: made.GetName()}); err != nil {
		return fmt.Errorf("revoking: %w", err)
	}

	// That it still runs when the time is over is an answer, and no error.
	answer, start := "", time.Now()
	if err := t.poll(ctx, "a revocation's effect", deployTime, func(ctx context.Context) (bool, error) {
		answer, err = t.deploy(ctx, "deploy-revoked", images["good"], "")
		return answer != "runs", err
	}); err != nil && (answer != "runs" || ctx.Err() != nil) {
		return fmt.Errorf("deploying a revoked image: %w", err)
	}
	t.found("deploy-revoked", "Does an image run whose attestation was deleted?",
		"refused CONTAINER_IMAGE_UNAUTHORIZED", answer)
	fmt.Fprintf(t.log, "the revocation took effect after %s\n", time.Since(start).Round(time.Second))
	return nil
}

// askAuditLog: break-glass is seen by whoever reads the audit log, under the name of the service.
func (t *trial) askAuditLog(ctx context.Context) error {
	request := map[string]any{
		"resourceNames": []string{t.parent}, "pageSize": 1,
		"filter": `resource.type="cloud_run_revision" AND logName:"cloudaudit.googleapis.com%2Fsystem_event" AND ` +
			`"breakglass" AND resource.labels.service_name="` + t.justified + `"`,
	}
	var all struct {
		Entries []struct{} `json:"entries"`
	}
	if err := t.awhile(ctx, t.patience, func(ctx context.Context) (bool, error) {
		err := t.rest.call(ctx, "POST", logging, "/v2/entries:list", request, &all)
		return len(all.Entries) > 0, err
	}); isForbidden(err) {
		t.skip("the audit log's entry of break-glass: the account of the trial may not read the log")
		return nil
	} else if err != nil {
		return err
	}
	t.found("break-glass-logged", "Has the audit log an entry of a deployment by break-glass?", "true",
		fmt.Sprint(len(all.Entries) > 0))
	return nil
}

// A service is what Cloud Run says of one.
type service struct {
	TerminalCondition struct {
		State          string `json:"state"`
		Reason         string `json:"reason"`
		RevisionReason string `json:"revisionReason"`
		Message        string `json:"message"`
	} `json:"terminalCondition"`
	BinaryAuthorization struct {
		BreakglassJustification string `json:"breakglassJustification"`
	} `json:"binaryAuthorization"`
}

// deploy makes a service of an image and says what became of it, and deletes it.
func (t *trial) deploy(ctx context.Context, id, image, justification string) (string, error) {
	t.deploys++
	name := fmt.Sprintf("%s-%d", t.run, t.deploys)
	at := "/v2/" + t.location() + "/services/" + name

	// Deleted at once, and again in the end only where that failed.
	gone := false
	remove := func(ctx context.Context) error {
		if gone {
			return nil
		}
		err := t.rest.call(ctx, "DELETE", cloudRun, at, nil, nil)
		if err == nil || isNotFound(err) {
			gone = true
			return nil
		}
		return err
	}
	t.later("a service", remove)

	authorization := map[string]any{"useDefault": true}
	if justification != "" {
		t.justified = name
		authorization["breakglassJustification"] = justification
	}
	body := map[string]any{
		"ingress": "INGRESS_TRAFFIC_INTERNAL_ONLY", "binaryAuthorization": authorization,
		"template": map[string]any{"containers": []any{map[string]any{"image": image}},
			"scaling": map[string]any{"maxInstanceCount": 1}},
	}
	var op operation
	if err := t.make(ctx, func(ctx context.Context) error {
		return t.rest.call(ctx, "POST", cloudRun, "/v2/"+t.location()+"/services?serviceId="+name, body, &op)
	}); err != nil {
		return "", err
	}
	if err := t.poll(ctx, id, deployTime, func(ctx context.Context) (bool, error) {
		if op.Done {
			return true, nil
		}
		return false, t.rest.call(ctx, "GET", cloudRun, "/v2/"+op.Name, nil, &op)
	}); err != nil {
		return "", err
	}

	var s service
	if err := t.rest.call(ctx, "GET", cloudRun, at, nil, &s); err != nil {
		return "", fmt.Errorf("reading the service: %w", err)
	}
	answer := "runs"
	switch c := s.TerminalCondition; {
	case c.State != "CONDITION_SUCCEEDED":
		answer = strings.TrimSpace("refused " + c.Reason + c.RevisionReason)
	case justification != "" && s.BinaryAuthorization.BreakglassJustification == justification:
		answer = "runs, justified"
	}
	return answer, remove(ctx)
}

// askRotation: two versions of a key beside one another, and one that is taken away.
func (t *trial) askRotation(ctx context.Context, w *world) error {
	image := t.image("rotated")
	old, err := t.attestation(ctx, w, image, "")
	if err != nil {
		return err
	}
	next, err := t.addVersion(ctx, w)
	if err != nil {
		return fmt.Errorf("adding a version: %w", err)
	}
	fresh, err := t.attestation(ctx, next, image, "")
	if err != nil {
		return err
	}

	// First while the attestor has both keys.
	both := []string{t.verdict(ctx, w, old, image), t.verdict(ctx, w, fresh, image)}
	a, err := t.binauthz.GetAttestor(ctx, &binaryauthorizationpb.GetAttestorRequest{Name: w.attestor})
	if err != nil {
		return fmt.Errorf("reading the attestor: %w", err)
	}
	n := a.GetUserOwnedGrafeasNote()
	if len(n.GetPublicKeys()) != 2 {
		return fmt.Errorf("the attestor has another number of keys after two were given to it: %d", len(n.GetPublicKeys()))
	}
	n.PublicKeys = n.PublicKeys[1:]
	if _, err := t.binauthz.UpdateAttestor(ctx, &binaryauthorizationpb.UpdateAttestorRequest{Attestor: a}); err != nil {
		return fmt.Errorf("taking the first version away: %w", err)
	}
	t.found("key-rotation", "Do signatures of both versions count while the attestor has both, and of the second "+
		"alone after that?",
		"VERIFIED VERIFIED, ATTESTATION_NOT_VERIFIABLE VERIFIED",
		strings.Join(both, " ")+", "+t.verdict(ctx, w, old, image)+" "+t.verdict(ctx, w, fresh, image))
	*w = *next
	return nil
}
