package deploy_test

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v4"
)

// A project stands for a Google Cloud project behind gcloud: resources with the flags that they were given last, and IAM
// policies. It refuses what Google documents as refused: using an API that is not enabled (SERVICE_DISABLED), creating a
// resource that exists (ALREADY_EXISTS), creating one within another that does not, granting roles to service accounts and
// service agents that do not exist, or of which IAM has not heard yet, and a new service whose grants IAM does not apply yet.
type project struct {
	mu        sync.Mutex
	Resources map[string]map[string]string
	Grants    map[string]map[string]bool // resource to "ROLE MEMBER"
	Secrets   map[string][]string        // versions' texts
	unknown   map[string]int             // new accounts and services to the number of calls that are still refused for them
	writes    int
	failAfter int // writes; later calls fail, as if the script had been stopped
}

func newProject() *project {
	return &project{
		Resources: map[string]map[string]string{}, Grants: map[string]map[string]bool{}, Secrets: map[string][]string{},
		unknown: map[string]int{}, failAfter: -1,
	}
}

func (p *project) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()

	out, err := p.gcloud(r.PostForm["a"])
	if err != nil {
		http.Error(w, "ERROR: (gcloud) "+err.Error(), http.StatusBadRequest)
		return
	}
	fmt.Fprint(w, out)
}

// flags are the flags of a resource, and whether it is there.
func (p *project) flags(resource string) (map[string]string, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	r, ok := p.Resources[resource]
	return maps.Clone(r), ok
}

// granted are the grants on a resource, each "ROLE MEMBER".
func (p *project) granted(resource string) map[string]bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.Grants[resource])
}

// byHand changes what the project has, as people do.
func (p *project) byHand(change func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	change()
}

// A call is one command line of gcloud: its group and verb, names, and flags.
type call struct {
	group, verb string
	names       []string
	flags       map[string]string
}

func verbs() []string {
	return []string{
		"describe", "create", "add-iam-policy-binding", "update", "enable", "list", "connect", "replace", "add",
		"access", "print-access-token", "add-backend", "add-path-matcher",
	}
}

// parse reads a command line. A flag that is followed by another one, or by nothing, has no value.
func parse(args []string) (call, error) {
	c := call{flags: map[string]string{}}
	var group []string
	for i := 0; i < len(args); i++ {
		a := args[i]
		switch {
		case strings.HasPrefix(a, "--") && i+1 < len(args) && !strings.HasPrefix(args[i+1], "--"):
			c.flags[a[2:]] = args[i+1]
			i++
		case strings.HasPrefix(a, "--"):
			c.flags[a[2:]] = ""
		case c.verb != "":
			c.names = append(c.names, a)
		case slices.Contains(verbs(), a):
			c.verb = a
		default:
			group = append(group, a)
		}
	}

	c.group = strings.Join(group, " ")
	if c.verb == "" {
		return c, fmt.Errorf("Invalid choice: %q", args)
	}
	return c, nil
}

// key names a resource: kind, name, and what it lies within.
func (c call) key() string {
	name := ""
	if len(c.names) > 0 {
		name = c.names[len(c.names)-1]
	}
	if c.group == "iam service-accounts" { // created by its id, and named by its address later
		name, _, _ = strings.Cut(name, "@")
	}

	scope := map[string]string{
		"kms keys": "keyring", "sql databases": "instance", "sql users": "instance", "compute routers nats": "router",
		"compute security-policies rules": "security-policy", "iap web": "service",
	}[c.group]
	if within := c.flags[scope]; within != "" {
		return c.group + " " + name + " in " + within
	}
	return c.group + " " + name
}

// api is the service that a group of commands uses; nothing where every project has it.
func (c call) api() string {
	first, _, _ := strings.Cut(c.group, " ")
	return map[string]string{
		"compute": "compute", "kms": "cloudkms", "container": "binaryauthorization", "artifacts": "artifactregistry", "pubsub": "pubsub", "run": "run",
		"secrets": "secretmanager", "sql": "sqladmin", "scheduler": "cloudscheduler", "iam": "iam", "iap": "iap", "storage": "storage",
	}[first]
}

// parents are the resources that a flag names, by kind, where creating needs them.
func (c call) parents() []string {
	kinds := map[string]string{
		"keyring": "kms keyrings", "instance": "sql instances", "router": "compute routers",
		"security-policy": "compute security-policies", "topic": "pubsub topics", "dead-letter-topic": "pubsub topics",
		"url-map": "compute url-maps", "ssl-policy": "compute ssl-policies", "nat-external-ip-pool": "compute addresses",
	}
	if c.group != "sql instances" && strings.HasPrefix(c.group, "compute") {
		kinds["network"] = "compute networks"
	}

	var out []string
	for flag, kind := range kinds {
		if v := c.flags[flag]; v != "" {
			out = append(out, kind+" "+v)
		}
	}
	slices.Sort(out)
	return out
}

// gcloud runs one command.
func (p *project) gcloud(args []string) (string, error) {
	c, err := parse(args)
	if err != nil {
		return "", err
	}
	if p.failAfter >= 0 && p.writes >= p.failAfter {
		return "", errors.New("the connection was lost")
	}

	if api := c.api(); api != "" {
		key := "services " + api + ".googleapis.com"
		if p.Resources[key] == nil || p.unknown[key] > 0 {
			p.unknown[key]-- // enabled, and not everywhere yet
			return "", fmt.Errorf("%s.googleapis.com has not been used in project demo before or it is disabled; reason: SERVICE_DISABLED", api)
		}
	}

	switch c.verb {
	case "print-access-token":
		return "none", nil
	case "describe", "list", "access":
		return p.read(c)
	}

	p.writes++
	return p.write(c)
}

func (p *project) read(c call) (string, error) {
	format := c.flags["format"]
	switch c.group {
	case "projects":
		return "123456789012", nil
	case "secrets versions":
		versions := p.Secrets[c.names[0]]
		if c.verb == "access" {
			versions = p.Secrets[c.flags["secret"]]
		}
		if len(versions) == 0 {
			return "", nil
		}
		if c.verb == "access" {
			return versions[len(versions)-1], nil
		}
		return fmt.Sprint(len(versions)), nil
	case "services vpc-peerings":
		if p.Resources["services vpc-peerings "] != nil {
			return "servicenetworking-googleapis-com", nil
		}
		return "", nil
	}

	r, ok := p.Resources[c.key()]
	if !ok {
		return "", fmt.Errorf("NOT_FOUND: %s", c.key())
	}
	fields := map[string]string{
		"value(advancedOptionsConfig.jsonParsing)": "json-parsing", "value(securityPolicy)": "security-policy",
		`value(sslCertificates.map().basename().list(separator=","))`: "ssl-certificates",
		"value(userOwnedGrafeasNote.publicKeys[].id)":                 "keyversion",
		"value(backends[].group)":                                     "network-endpoint-group",
		"value(pathMatchers[].name)":                                  "path-matchers",
	}
	switch {
	case format == "value(status.url)":
		return "https://" + c.names[0] + "-abc.a.run.app", nil
	case format != "" && fields[format] == "":
		return "", fmt.Errorf("no such format here: %s", format)
	}
	return r[fields[format]], nil
}

func (p *project) write(c call) (string, error) {
	switch {
	case c.group == "services":
		for _, api := range c.names {
			if key := "services " + api; p.Resources[key] == nil {
				p.Resources[key], p.unknown[key] = map[string]string{"enabled": "true"}, 2
			}
		}
		// Artifact Analysis creates its topics when it is enabled.
		if slices.Contains(c.names, "containeranalysis.googleapis.com") {
			p.Resources["pubsub topics container-analysis-occurrences-v1"] = map[string]string{"owner": "google"}
		}
		return "", nil
	case c.group == "beta services identity":
		if p.Resources["services "+c.flags["service"]] == nil {
			return "", fmt.Errorf("SERVICE_DISABLED: %s", c.flags["service"])
		}
		if key := "agent " + c.flags["service"]; p.Resources[key] == nil {
			p.Resources[key], p.unknown[key] = map[string]string{}, 2
		}
		return "", nil
	case c.verb == "add-iam-policy-binding":
		return "", p.grant(c)
	case c.group == "secrets versions":
		text, err := os.ReadFile(c.flags["data-file"])
		if err != nil {
			return "", err
		}
		if c.names[0] == "gate-hash" { // random
			text = fmt.Append(nil, len(text), " bytes")
		}
		p.Secrets[c.names[0]] = append(p.Secrets[c.names[0]], string(text))
		return fmt.Sprint(len(p.Secrets[c.names[0]])), nil
	case c.group == "run services":
		text, err := os.ReadFile(c.names[0])
		if err != nil {
			return "", err
		}
		var service struct {
			Metadata struct {
				Name string `yaml:"name"`
			} `yaml:"metadata"`
		}
		if err := yaml.Load(text, &service); err != nil {
			return "", err
		}
		name := service.Metadata.Name

		// IAM applies the grants of secrets after a while; the service that is refused is there all the same.
		if key := "run services " + name; p.Resources[key] == nil {
			p.Resources[key], p.unknown[key] = map[string]string{"definition": string(text)}, 2
		}
		if key := "run services " + name; p.unknown[key] > 0 {
			p.unknown[key]--
			return "", errors.New("Permission denied on secret: projects/demo/secrets/" + name + "-config/versions/1 for Revision service account")
		}
		p.Resources["run services "+name] = map[string]string{"definition": string(text)}
		return "", nil
	case c.group == "container binauthz attestors public-keys":
		c.group, c.verb, c.names = "container binauthz attestors", "update", []string{c.flags["attestor"]}
		delete(c.flags, "attestor")
	}
	return "", p.change(c)
}

// change creates or updates a resource.
func (p *project) change(c call) error {
	key := c.key()
	r, exists := p.Resources[key]
	switch {
	case c.verb == "create" && exists || c.verb == "connect" && exists:
		return fmt.Errorf("ALREADY_EXISTS: %s", key)
	case c.verb != "create" && c.verb != "connect" && !exists:
		return fmt.Errorf("NOT_FOUND: %s", key)
	}
	if c.verb == "create" {
		for _, parent := range c.parents() {
			if p.Resources[parent] == nil {
				return fmt.Errorf("NOT_FOUND: %s, which %s names", parent, key)
			}
		}
	}

	if r == nil {
		r = map[string]string{}
		p.unknown[key] = 1
	}
	for name, value := range c.flags {
		if name != "project" && name != "quiet" && name != "next-rotation-time" { // which depends on the clock
			r[name] = value
		}
	}
	p.Resources[key] = r

	// A map has many, each of its own name.
	if matcher := c.flags["path-matcher-name"]; c.verb == "add-path-matcher" {
		if slices.Contains(strings.Split(r["path-matchers"], ";"), matcher) {
			return fmt.Errorf("ALREADY_EXISTS: path matcher %s of %s", matcher, key)
		}
		r["path-matchers"] = strings.TrimPrefix(r["path-matchers"]+";"+matcher, ";")
	}
	return nil
}

// grant adds a member to a role, as gcloud's add-iam-policy-binding does: by reading the policy, and writing it back with
// its etag.
func (p *project) grant(c call) error {
	member := c.flags["member"]
	agents := map[string]string{
		"serverless-robot-prod": "run", "gcp-sa-iap": "iap", "gcp-sa-pubsub": "pubsub", "gcp-sa-binaryauthorization": "binaryauthorization",
	}
	if account, is := strings.CutPrefix(member, "serviceAccount:"); is {
		needs := "iam service-accounts " + account
		if _, domain, found := strings.Cut(account, "@"); found && strings.HasPrefix(account, "service-") {
			needs = "agent " + agents[strings.TrimSuffix(domain, ".iam.gserviceaccount.com")] + ".googleapis.com"
		}
		if strings.HasPrefix(needs, "iam service-accounts ") {
			needs, _, _ = strings.Cut(needs, "@")
		}
		// What was just created is known to IAM only after a while.
		if p.Resources[needs] == nil || p.unknown[needs] > 0 {
			p.unknown[needs]--
			return fmt.Errorf("INVALID_ARGUMENT: Service account %s does not exist", account)
		}
	}

	key := c.key()
	if condition := c.flags["condition"]; condition != "" && condition != "None" {
		key += " if " + condition
	}
	if p.Grants[key] == nil {
		p.Grants[key] = map[string]bool{}
	}
	p.Grants[key][c.flags["role"]+" "+member] = true
	return nil
}

// TestProjectRefuses is the stand-in's own check: what Google refuses, it refuses.
func TestProjectRefuses(t *testing.T) {
	p := newProject()
	if _, err := p.gcloud(strings.Fields("iam service-accounts create gate-api")); err == nil || !strings.Contains(err.Error(), "SERVICE_DISABLED") {
		t.Errorf("without the API: %v", err)
	}
	const enable = "services enable iam.googleapis.com iap.googleapis.com run.googleapis.com " +
		"cloudkms.googleapis.com compute.googleapis.com pubsub.googleapis.com"
	if _, err := p.gcloud(strings.Fields(enable)); err != nil {
		t.Fatal(err)
	}
	if _, err := p.gcloud(strings.Fields("iam service-accounts create gate-api")); err == nil || !strings.Contains(err.Error(), "SERVICE_DISABLED") {
		t.Errorf("right after the API was enabled: %v", err)
	}
	maps.DeleteFunc(p.unknown, func(key string, _ int) bool { return strings.HasPrefix(key, "services ") })
	const first = "iam service-accounts add-iam-policy-binding gate-api --member serviceAccount:gate-api@demo.iam.gserviceaccount.com --role r"
	for _, args := range []string{
		"iam service-accounts create gate-api", "- " + first,
		"iam service-accounts add-iam-policy-binding gate-api --member serviceAccount:gate-api@demo.iam.gserviceaccount.com --role r",
		"services enable containeranalysis.googleapis.com", "beta services identity create --service iap.googleapis.com",
		"- run services add-iam-policy-binding gate --member serviceAccount:service-1@gcp-sa-iap.iam.gserviceaccount.com --role r",
		"- run services add-iam-policy-binding gate --member serviceAccount:service-1@gcp-sa-iap.iam.gserviceaccount.com --role r",
		"run services add-iam-policy-binding gate --member serviceAccount:service-1@gcp-sa-iap.iam.gserviceaccount.com --role r",
	} {
		args, refused := strings.CutPrefix(args, "- ") // IAM has not heard of it yet
		if _, err := p.gcloud(strings.Fields(args)); (err != nil) != refused {
			t.Fatalf("%s: %v", args, err)
		}
	}
	for args, want := range map[string]string{
		"iam service-accounts create gate-api":                                                                                  "ALREADY_EXISTS",
		"pubsub topics create container-analysis-occurrences-v1":                                                                "ALREADY_EXISTS",
		"kms keys create gate --keyring none --location x":                                                                      "NOT_FOUND",
		"compute security-policies update none --json-parsing STANDARD":                                                         "NOT_FOUND",
		"pubsub topics describe none":                                                                                           "NOT_FOUND",
		"projects add-iam-policy-binding demo --member serviceAccount:none@x --role":                                            "does not exist",
		"projects add-iam-policy-binding demo --member serviceAccount:service-1@gcp-sa-pubsub.iam.gserviceaccount.com --role r": "does not exist",
	} {
		if _, err := p.gcloud(strings.Fields(args)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", args, err, want)
		}
	}
}
