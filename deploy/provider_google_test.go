package deploy_test

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A pubsubService stands for Pub/Sub, Cloud Scheduler and IAM where the real provider calls them, as Google documents them: what
// exists cannot be created again (409), and a service agent that was just created is unknown to IAM for a while (400).
type pubsubService struct {
	t        *testing.T
	mu       sync.Mutex
	things   map[string]map[string]any // by resource name
	policies map[string]map[string]any
	unknown  int // how often the agent is still refused
	refused  int
}

func newPubsubService(t *testing.T) (*pubsubService, string) {
	t.Helper()
	g := &pubsubService{t: t, things: map[string]map[string]any{}, policies: map[string]map[string]any{}, unknown: 2}
	return g, serve(t, g)
}

func (g *pubsubService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	defer g.mu.Unlock()

	body := map[string]any{}
	if err := json.NewDecoder(r.Body).Decode(&body); err != nil && err != io.EOF {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	code, answer := g.answer(r.Method, strings.TrimPrefix(r.URL.Path, "/v1/"), body)
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		g.t.Log(err)
	}
}

func refusal(code int, status, message string) (int, map[string]any) {
	return code, map[string]any{"error": map[string]any{"code": code, "status": status, "message": message}}
}

func (g *pubsubService) answer(method, path string, body map[string]any) (int, map[string]any) {
	name, verb, _ := strings.Cut(path, ":")
	switch {
	case verb == "getIamPolicy":
		if p := g.policies[name]; p != nil {
			return http.StatusOK, p
		}
		return http.StatusOK, map[string]any{"etag": "a"}
	case verb == "setIamPolicy":
		policy, _ := body["policy"].(map[string]any)
		if text := fmt.Sprint(policy); strings.Contains(text, "@gcp-sa-pubsub.iam") && g.unknown > 0 {
			g.unknown--
			g.refused++
			return refusal(http.StatusBadRequest, "INVALID_ARGUMENT",
				"Service account service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com does not exist.")
		}
		g.policies[name] = policy
		return http.StatusOK, policy
	case verb == "resume" && g.things[name] != nil:
		return http.StatusOK, g.things[name]
	case method == "POST": // a job, in its collection
		full, _ := body["name"].(string)
		if name = full; name == "" {
			return refusal(http.StatusBadRequest, "INVALID_ARGUMENT", "a job without a name")
		}
		fallthrough
	case method == "PUT":
		if g.things[name] != nil {
			return refusal(http.StatusConflict, "ALREADY_EXISTS", "Resource already exists in the project ("+name+").")
		}
		body["name"] = name
		g.things[name] = body
		return http.StatusOK, body
	case g.things[name] == nil:
		return refusal(http.StatusNotFound, "NOT_FOUND", "Resource not found ("+name+").")
	case method == "DELETE":
		delete(g.things, name)
		return http.StatusOK, map[string]any{}
	}
	return http.StatusOK, g.things[name]
}

func (g *pubsubService) names() map[string]bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	out := map[string]bool{}
	for name := range g.things {
		out[name] = true
	}
	return out
}

// TestTerraformMeetsGoogle applies module events with the real provider, where Google has made its topic already and IAM does
// not know Pub/Sub's agent yet: the provider gives up, which is why module apis waits. Applied again nothing is left to do, and
// destroying leaves Google's topic alone. Creating that topic fails. The state of an earlier layout, which has it, is refused
// until it forgets it, as docs/deploy.md says.
func TestTerraformMeetsGoogle(t *testing.T) {
	f := newProvider(t)
	g, address := newPubsubService(t)
	const topic = "projects/acme/topics/container-analysis-occurrences-v1"
	g.things[topic] = map[string]any{"name": topic}
	config := func(more string) string {
		return fmt.Sprintf(`
provider "google" {
  project                         = "acme"
  access_token                    = "none"
  pubsub_custom_endpoint          = "%[1]s/v1/"
  cloud_scheduler_custom_endpoint = "%[1]s/v1/"
}

module "events" {
  source         = "../modules/events"
  project        = "acme"
  project_number = "123456789012"
  region         = "us-east1"
  uri            = "https://gate-events-123456789012.us-east1.run.app"
  pusher = {
    email  = "gate-pusher@acme.iam.gserviceaccount.com"
    name   = "projects/acme/serviceAccounts/gate-pusher@acme.iam.gserviceaccount.com"
    member = "serviceAccount:gate-pusher@acme.iam.gserviceaccount.com"
  }
  events_member = "serviceAccount:gate-events@acme.iam.gserviceaccount.com"
  topics        = { acme = ["container-analysis-occurrences-v1", "gcr", "cloud-builds"] }
  %[2]s
}
`, address, more)
	}

	const dir = "terraform/emulated"
	// But for the grant on a service account: the provider has no setting for where it asks that.
	var targets []string
	for _, kind := range []string{
		"google_pubsub_topic.dead", "google_pubsub_topic.source", "google_pubsub_subscription.dead", "google_pubsub_subscription.push",
		"google_pubsub_topic_iam_member.rejudge", "google_pubsub_topic_iam_member.dead", "google_pubsub_subscription_iam_member.acknowledge",
		"google_cloud_scheduler_job.expire", "google_cloud_scheduler_job.rejudge",
	} {
		targets = append(targets, "-target=module.events."+kind)
	}
	f.write(t, dir+"/main.tf", config("create_container_analysis_topics = true"))
	f.must(t, dir, "get")
	if _, err := f.run(t, dir, "apply", "-auto-approve",
		"-target=module.events.google_pubsub_topic.source"); err == nil || !strings.Contains(err.Error(), "409") {
		t.Errorf("creating Google's topic: %v", err)
	}

	f.write(t, dir+"/main.tf", config(""))
	_, err := f.run(t, dir, append([]string{"apply", "-auto-approve"}, targets...)...)
	if err == nil || !strings.Contains(err.Error(), "does not exist") || g.refused != 2 {
		t.Errorf("IAM did not know the agent, %d times, and the provider asked again: module apis need not wait: %v", g.refused, err)
	}
	f.must(t, dir, append([]string{"apply", "-auto-approve"}, targets...)...)
	if out := f.must(t, dir, append([]string{"plan"}, targets...)...); !strings.Contains(out, "No changes") {
		t.Errorf("there is still something to do: %s", out)
	}
	if n := len(g.names()); n < 12 {
		t.Errorf("%d things were made: %v", n, g.names())
	}
	// Once imported, the topic is in the state as if an earlier layout had made it.
	const earlier = `module.events.google_pubsub_topic.source["acme/container-analysis-occurrences-v1"]`
	f.write(t, dir+"/main.tf", config("create_container_analysis_topics = true"))
	f.must(t, dir, "import", earlier, topic)
	f.write(t, dir+"/main.tf", config(""))
	refused := "Instance cannot be destroyed"
	if out, err := f.run(t, dir, append([]string{"plan"}, targets...)...); err == nil || !strings.Contains(err.Error(), refused) {
		t.Errorf("the upgrade would destroy Google's topic: %v\n%s", err, out)
	}
	f.must(t, dir, "state", "rm", earlier)
	if out := f.must(t, dir, append([]string{"plan"}, targets...)...); !strings.Contains(out, "No changes") {
		t.Errorf("after the upgrade there is something to do: %s", out)
	}

	// Topics stay, unless somebody decides otherwise: others may have subscriptions of them.
	if _, err := f.run(t, dir, "destroy", "-auto-approve"); err == nil || !strings.Contains(err.Error(), refused) {
		t.Errorf("destroying topics: %v", err)
	}
	f.must(t, dir, "state", "rm", "module.events.google_pubsub_topic.source")
	f.must(t, dir, "destroy", "-auto-approve")
	want := map[string]bool{topic: true}
	for _, name := range []string{"gcr", "cloud-builds", "gate-rejudge"} {
		want["projects/acme/topics/"+name] = true
	}
	if d := cmp.Diff(want, g.names()); d != "" {
		t.Errorf("after destroying (-want +got):\n%s", d)
	}
}
